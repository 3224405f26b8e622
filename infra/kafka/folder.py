"""The lock on a data folder: one Kafka at a time. Only who holds the folder is told here, not what is in it.

The lock is the kernel's (flock), so it ends with its holder, however that dies. The Java process inherits
the open file: should it ever outlive who started it, the folder stays locked.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Self

from endpoint_analytics.infra.kafka.errors import FolderInUseError, KafkaError
from endpoint_analytics.infra.private import make_private_folder

LOCK_NAME = "lock"


class FolderLock:
    """Holds a data folder, made where it is missing, from construction until `release`.

    Raises FolderInUseError naming the folder and its holder's process id.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, folder: Path) -> None:
        try:
            make_private_folder(folder)
            descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise KafkaError(f"cannot use {folder} as Kafka's data folder: {error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise FolderInUseError(
                f"the data folder {folder} is in use by another Kafka: process {holder}. "
                "Stop that one, or choose another folder"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._descriptor = descriptor

    def fileno(self) -> int:
        """The open file, for a child to inherit."""
        return self._descriptor

    def release(self) -> None:
        """Give the folder back, as far as this process holds it; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
