"""The lock on a data folder: one process at a time, told by its pid, gone with its process.

`flock` is the lock, so nothing stale is left after `kill -9`; the pid in the file is for the message.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from endpoint_analytics.infra.clickhouse.errors import FolderHeldError
from endpoint_analytics.infra.private import make_private_folder

_NAME = "server.lock"


class FolderLock:
    """Held from `acquire` until `release` or the process's end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock, making the folder if need be; raises FolderHeldError naming folder and holder."""
        make_private_folder(self._folder)
        descriptor = os.open(self._folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise FolderHeldError(
                f"the data folder {self._folder} is in use by the process {holder}: "
                "stop it, or give another folder"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the folder back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
