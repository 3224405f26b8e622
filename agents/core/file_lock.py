"""Locks between processes: a file that one process locks with flock until it exits, however it dies.

What a lock file means is up to its users. A forked child releases inherited locks: otherwise it would hold them
after its parent's death. A program that inherits the open file (`fileno`) keeps the lock.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CAN_LOCK = fcntl is not None

_RETRY_S = 0.002

_FORK_WAITS_S = 0.1
"""How long a fork waits for another thread that is taking a lock: no longer, should the file system hang."""

_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


class LockHeldError(Exception):
    """Another process still holds the lock."""


class _ForkGuard:
    """Keeps forks out while a file is opened and locked, or closed: the child would not know that it holds it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._of_thread = threading.local()

    def before(self) -> None:
        self._of_thread.has_waited = self.lock.acquire(timeout=_FORK_WAITS_S)

    def after_in_parent(self) -> None:
        if self._of_thread.has_waited:
            self.lock.release()

    def after_in_child(self) -> None:
        self.lock = threading.RLock()
        for lock in list(_held):
            lock.release()


_forks = _ForkGuard()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_forks.before, after_in_parent=_forks.after_in_parent, after_in_child=_forks.after_in_child
    )


class FileLock:
    """A file that this process has locked, until `release`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        _held.add(self)

    @property
    def is_held(self) -> bool:
        """Whether it is still locked: released neither here nor by the fork that created this process."""
        return self._descriptor is not None

    def fileno(self) -> int:
        """Return the file descriptor, for a program to inherit; -1 if the lock is not held."""
        return -1 if self._descriptor is None else self._descriptor

    def write(self, text: str) -> None:
        """Replace the file's content; raises OSError."""
        if self._descriptor is not None:
            os.pwrite(self._descriptor, text.encode(), 0)
            os.ftruncate(self._descriptor, len(text.encode()))

    def touch(self) -> bool:
        """Renew the file's times; returns False if it is no longer held, or no longer at its path.

        Returns True if that cannot be found out: the process may have changed its user, or a network be away.
        """
        if self._descriptor is None:
            return False
        try:
            if not _is_still(self.path, self._descriptor):
                return False
            os.utime(self._descriptor)
        except OSError:
            pass
        return True

    def release(self) -> None:
        """Release the lock; the file stays. A second call does nothing."""
        with _forks.lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                with suppress(OSError):
                    os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def acquire(path: Path) -> FileLock | None:
    """Lock the file, creating it if necessary; None if a live process holds it. Raises OSError.

    If the holder removes the file in the meantime, it is created again.
    """
    while True:
        with _forks.lock:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still(path, descriptor):
                    return FileLock(path, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


@contextmanager
def locked(path: Path, within_s: float) -> Iterator[None]:
    """Hold the lock for the block, waiting for another holder; raises OSError, and LockHeldError after `within_s`."""
    end_s = time.monotonic() + within_s
    while (lock := acquire(path)) is None:
        if time.monotonic() > end_s:
            raise LockHeldError(f"another process still holds {path}")
        time.sleep(_RETRY_S)
    try:
        yield
    finally:
        if lock.is_held:
            # A child that was forked meanwhile may have a copy of the file: this unlocks it too.
            fcntl.flock(lock.fileno(), fcntl.LOCK_UN)
        lock.release()


def is_locked(path: Path) -> bool:
    """Return whether a live process holds the file. Concurrent callers do not affect each other."""
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


def holder_of(path: Path) -> str:
    """Return what the holder has written to the file: its process id; `unknown` if the file is empty."""
    try:
        return path.read_text("ascii", "replace").strip() or "unknown"
    except OSError:
        return "unknown"


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        on_disk = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    opened = os.fstat(descriptor)
    return (on_disk.st_dev, on_disk.st_ino) == (opened.st_dev, opened.st_ino)
