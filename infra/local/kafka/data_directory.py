"""The lock on a data directory: only one Kafka can use it at a time.

The Java process inherits the open file, so the directory stays locked if that process ever outlives its parent.
"""

from __future__ import annotations

import os
from pathlib import Path

from endpoint_analytics.agents.core.file_lock import FileLock, acquire, holder_of
from endpoint_analytics.infra.local.kafka.errors import DirectoryInUseError, KafkaError
from endpoint_analytics.infra.local.system.private import make_private_directory

LOCK_NAME = "lock"


def lock_directory(directory: Path) -> FileLock:
    """Lock a data directory, creating it if needed; raises DirectoryInUseError with the holder's process ID."""
    path = directory / LOCK_NAME
    try:
        make_private_directory(directory)
        lock = acquire(path)
    except OSError as error:
        raise KafkaError(f"cannot use {directory} as Kafka's data directory: {error}") from error
    if lock is None:
        raise DirectoryInUseError(
            f"the data directory {directory} is in use by another Kafka: process {holder_of(path)}. "
            "Stop that process, or choose another directory"
        )
    lock.write(f"{os.getpid()}\n")
    return lock
