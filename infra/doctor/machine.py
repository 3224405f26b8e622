"""Checks of this machine: the packages and codecs that are installed, and the directories that agents write to."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from aiokafka import codec

from endpoint_analytics.agents.command.installation import install_command
from endpoint_analytics.infra.doctor.finding import Finding, failure, ok, warning
from endpoint_analytics.schemas.configuration.settings import parse_number, read_text

PACKAGE = "endpoint-analytics"
CODECS: Mapping[str, Callable[[], bool]] = {
    "gzip": codec.has_gzip,
    "snappy": codec.has_snappy,
    "lz4": codec.has_lz4,
    "zstd": codec.has_zstd,
}


def check_machine(environment: Mapping[str, str], *, reads_kafka: bool) -> Iterator[Finding]:
    """Yield what is found on this machine; `reads_kafka`: a worker shall run here."""
    yield ok("machine", f"Python {platform.python_version()}, {PACKAGE} {version(PACKAGE)}")
    yield from _packages()
    missing = [name for name, is_there in CODECS.items() if not is_there()]
    if missing and reads_kafka:
        yield failure(
            "machine",
            f"messages that are compressed with {', '.join(missing)} cannot be read",
            install_command("pipeline"),
        )
    if spool := read_text(environment, "spool"):
        size = read_text(environment, "spool_bytes")
        yield _directory("spool", Path(spool), int(parse_number("spool_bytes", size, int)) if size else None)
    if runtime := read_text(environment, "runtime_directory"):
        yield _directory("runtime directory", Path(runtime))


def _packages() -> Iterator[Finding]:
    """Yield what pip finds wrong with the versions of the packages that this one needs."""
    words = (sys.executable, "-m", "pip", "check")
    found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60).stdout.splitlines()
    if wrong := [line for line in found if line.startswith(f"{PACKAGE} ")]:
        fix = f"{install_command('pipeline')}, with the extras that you use, in an environment of its own"
        yield failure("machine", "; ".join(wrong), fix)


def _directory(part: str, path: Path, needed_bytes: int | None = None) -> Finding:
    """Return whether this user may write to the directory, and whether it has the space."""
    try:
        existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    except OSError as error:  # a directory above it may not be entered
        return failure(part, f"{path}: {error}", "give this user the right to enter the directories above it")
    if not existing.is_dir() or not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        return failure(
            part,
            f"{path} is not writable for user {os.getuid()}",
            f"create it, and give it to that user: install -d -o {os.getuid()} -m 700 {path}",
        )
    free_bytes = shutil.disk_usage(existing).free
    if needed_bytes is not None and free_bytes < needed_bytes:
        return warning(
            part,
            f"{path} has {free_bytes >> 20} MiB free, and each process may fill {needed_bytes >> 20} MiB",
            "give it a larger disk, or set ENDPOINT_ANALYTICS_SPOOL_BYTES",
        )
    return ok(part, f"{path} is writable, {free_bytes >> 20} MiB free")
