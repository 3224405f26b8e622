"""The lock on a data directory: one process at a time, named by its process id."""

from __future__ import annotations

import os
from pathlib import Path

from endpoint_analytics.agents.core.file_lock import FileLock, acquire, holder_of
from endpoint_analytics.infra.local.clickhouse.errors import DirectoryHeldError
from endpoint_analytics.infra.local.system.private import make_private_directory

_NAME = "server.lock"


def lock_directory(directory: Path) -> FileLock:
    """Lock a data directory, made where it is missing; raises DirectoryHeldError with its holder, and OSError."""
    make_private_directory(directory)
    path = directory / _NAME
    lock = acquire(path)
    if lock is None:
        raise DirectoryHeldError(
            f"the data directory {directory} is in use by the process {holder_of(path)}: "
            "stop it, or give another directory"
        )
    lock.write(f"{os.getpid()}\n")
    return lock
