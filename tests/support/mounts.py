"""Really small filesystems, for tests of a full disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_filesystem(path: Path, size_bytes: int, *, on_disk: bool = False) -> Iterator[Path]:
    """Mount a filesystem of `size_bytes` at `path`; skips the test without permission to mount one.

    It is in memory or, with `on_disk`, in a sparse file next to `path`, which occupies only what is written.
    """
    path.mkdir(parents=True)
    commands = [["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(path)]]
    if on_disk:
        image = path.with_name(f"{path.name}.img")
        with image.open("wb") as file:
            file.truncate(size_bytes)
        format_image = ["mkfs.ext4", "-q", "-F", "-m", "0", str(image)]
        commands = [format_image, ["mount", "-o", "loop", str(image), str(path)]]
    if os.geteuid() or not all(_succeeds(words) for words in commands):
        pytest.skip(
            "a full disk needs a separate filesystem, and mounting one is not permitted here (root may)"
        )
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _succeeds(words: list[str]) -> bool:
    try:
        return subprocess.run(words, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
