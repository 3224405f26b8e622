"""Files and directories that only their owner can read: secrets, and data about requests and their senders.

Only modes belong here. Paths created earlier with wider modes are tightened when they are used again.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

_log = logging.getLogger(__name__)


def make_private_directory(path: Path) -> None:
    """Create a directory and its parents, accessible to its owner only; raises OSError if it cannot be created."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:  # a mounted volume owned by another user
        _log.warning("others may read %s: its mode cannot be changed (%s)", path, error)


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 atomically: it is never visible half-written or with a wider mode."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    new.replace(path)
