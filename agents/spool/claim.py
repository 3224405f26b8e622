"""Ownership within a spool directory: one subdirectory per boot, held by a lock that ends with its process.

`<boot>@<topic prefix>.lock` is locked while the owner lives, however it dies; its segments are in the directory
`<boot>@<topic prefix>`. A process that gets the lock of a dead one owns what it left behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from endpoint_analytics.agents.core.file_lock import FileLock, acquire

LOCK = ".lock"


class Claim:
    """The subdirectory `directory` and the lock that marks this process as its owner."""

    def __init__(self, directory: Path, lock: FileLock) -> None:
        self.directory = directory
        self._lock = lock

    def release(self) -> None:
        """Release the subdirectory unchanged, so that another process can claim it."""
        self._lock.release()

    def remove(self) -> None:
        """Remove the subdirectory if it is empty, and release it. Any other files in it stay."""
        with suppress(OSError):
            self.directory.rmdir()
            self._lock.path.unlink()
        self.release()


def claim(directory: Path) -> Claim | None:
    """Claim and create `directory`; None if a live process owns it. Raises OSError."""
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = acquire(directory.with_name(directory.name + LOCK))
    if lock is None:
        return None
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        lock.release()
        raise
    return Claim(directory, lock)


def claim_left(base: Path, topic_prefix: str) -> Iterator[Claim]:
    """Claim and yield the subdirectories that dead processes left for the same topics."""
    try:
        locks = sorted(base.glob(f"*@{topic_prefix}{LOCK}"), key=lambda path: path.stat().st_mtime_ns)
    except OSError:  # one has just disappeared: try again next time
        return
    for lock in locks:
        with suppress(OSError):
            found = claim(lock.with_name(lock.name[: -len(LOCK)]))
            if found is not None:
                yield found
