"""The lock on a data directory: one Kafka at a time.

The Java process inherits the open file: if it ever outlives its parent, the directory stays locked.
"""

from __future__ import annotations

import os
from pathlib import Path

from endpoint_analytics.agents.core.file_lock import FileLock, acquire, holder_of
from endpoint_analytics.infra.local.kafka.errors import DirectoryInUseError, KafkaError
from endpoint_analytics.infra.local.system.private import make_private_directory

LOCK_NAME = "lock"


def lock_directory(directory: Path) -> FileLock:
    """Lock a data directory, made where it is missing; raises DirectoryInUseError with its holder's process id."""
    path = directory / LOCK_NAME
    try:
        make_private_directory(directory)
        lock = acquire(path)
    except OSError as error:
        raise KafkaError(f"cannot use {directory} as Kafka's data directory: {error}") from error
    if lock is None:
        raise DirectoryInUseError(
            f"the data directory {directory} is in use by another Kafka: process {holder_of(path)}. "
            "Stop that one, or choose another directory"
        )
    lock.write(f"{os.getpid()}\n")
    return lock
