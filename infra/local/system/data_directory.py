"""The lock on a data directory: one process at a time, whose ID is in the file.

A child process that inherits the open file (Kafka's Java) keeps the directory locked if it ever outlives its parent.
"""

from __future__ import annotations

import os
from pathlib import Path

from endpoint_analytics.agents.core.file_lock import FileLock, acquire, holder_of
from endpoint_analytics.infra.local.system.private_files import make_private_directory

_NAME = "server.lock"


class DirectoryInUseError(Exception):
    """The data directory cannot be used: another process has locked it."""


def lock_directory(directory: Path) -> FileLock:
    """Lock a data directory, creating it if needed; raises DirectoryInUseError with the holder's ID, and OSError."""
    make_private_directory(directory)
    path = directory / _NAME
    lock = acquire(path)
    if lock is None:
        raise DirectoryInUseError(
            f"the data directory {directory} is in use by process {holder_of(path)}: "
            "stop it, or choose another directory"
        )
    lock.write(f"{os.getpid()}\n")
    return lock
