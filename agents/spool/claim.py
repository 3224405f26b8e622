"""Who owns which part of a spool directory: a subdirectory for each boot, held by a lock that ends with its process.

`<boot>@<topic prefix>.lock` is locked as long as the owner lives, however it dies; its segments are in the directory
`<boot>@<topic prefix>`. Whoever gets the lock of a dead process owns what it left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from endpoint_analytics.agents.core.file_lock import FileLock, acquire

LOCK = ".lock"


class Claim:
    """The subdirectory `directory`, and the lock that makes it ours."""

    def __init__(self, directory: Path, lock: FileLock) -> None:
        self.directory = directory
        self._lock = lock

    def release(self) -> None:
        """Leave the subdirectory as it is, to whoever wants it."""
        self._lock.release()

    def remove(self) -> None:
        """Remove the subdirectory, which is empty, and let go of it. What else is in there stays."""
        with suppress(OSError):
            self.directory.rmdir()
            self._lock.path.unlink()
        self.release()


def claim(directory: Path) -> Claim | None:
    """Make `directory` ours and make it, unless a living process owns it: then None. Raises OSError."""
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
    """Yield the subdirectories of dead processes for the same topics, each ours from then on."""
    try:
        locks = sorted(base.glob(f"*@{topic_prefix}{LOCK}"), key=lambda path: path.stat().st_mtime_ns)
    except OSError:  # one has just gone: there is a next time
        return
    for lock in locks:
        with suppress(OSError):
            found = claim(lock.with_name(lock.name[: -len(LOCK)]))
            if found is not None:
                yield found
