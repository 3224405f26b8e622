"""The lock on a data directory: one process at a time; the file contains its process ID."""

from __future__ import annotations

import os
from pathlib import Path

from endpoint_analytics.agents.core.file_lock import FileLock, acquire, holder_of
from endpoint_analytics.infra.local.clickhouse.errors import DirectoryHeldError
from endpoint_analytics.infra.local.system.private import make_private_directory

_NAME = "server.lock"


def lock_directory(directory: Path) -> FileLock:
    """Lock a data directory, creating it if needed; raises DirectoryHeldError with the holder's ID, and OSError."""
    make_private_directory(directory)
    path = directory / _NAME
    lock = acquire(path)
    if lock is None:
        raise DirectoryHeldError(
            f"the data directory {directory} is in use by process {holder_of(path)}: "
            "stop it, or choose another directory"
        )
    lock.write(f"{os.getpid()}\n")
    return lock
