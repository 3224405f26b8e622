"""A file that one process holds by a lock (flock), which ends with that process however it dies.

What the files mean is told elsewhere. A forked child lets go of what it inherited: else it would hold a lock
beyond its parent's death.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path

from endpoint_analytics.agents.spool.claim import CAN_LOCK

if CAN_LOCK:
    import fcntl


class HeldFile:
    """A file that this process holds, until `release`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        reference = weakref.ref(self)

        def release() -> None:
            inherited = reference()
            if inherited is not None:
                inherited.release()

        os.register_at_fork(after_in_child=release)

    @property
    def is_held(self) -> bool:
        """Whether it was not released yet, here or by the fork that made this process."""
        return self._descriptor is not None

    def write(self, text: str) -> None:
        """Replace what is in it; raises OSError."""
        if self._descriptor is not None:
            os.pwrite(self._descriptor, text.encode(), 0)
            os.ftruncate(self._descriptor, len(text.encode()))

    def release(self) -> None:
        """Let go of it; the file stays."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def hold(path: Path) -> HeldFile | None:
    """Hold the file, made if need be, unless another holds it: then None. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there, ours = path.stat(), os.fstat(descriptor)
    except (BlockingIOError, FileNotFoundError):  # held; or removed in between by the one who held it
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
        os.close(descriptor)
        return None
    return HeldFile(path, descriptor)


def is_held(path: Path) -> bool:
    """Return whether a living process holds the file. Those who ask do not disturb each other."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        with suppress(OSError):
            os.close(descriptor)
    return False
