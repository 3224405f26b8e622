"""Files and directories that only their owner can read: secrets, and data that requests and their senders left.

Only modes belong here. What was made before with wider modes is tightened when it is used again.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

_log = logging.getLogger(__name__)


def make_private_directory(path: Path) -> None:
    """Make a directory and its parents, and see that only its owner gets in; raises OSError when it cannot be made."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:  # a mounted volume that belongs to somebody else
        _log.warning("others may read %s: its mode cannot be changed (%s)", path, error)


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 in one step: nobody sees half of it, or sees it before its mode is set."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    new.replace(path)
