"""Who owns which part of a spool folder: a sub-folder for each boot, held by a lock that ends with its process.

`<boot>@<topic prefix>.lock` is locked (flock) as long as the owner lives, however it dies; its segments are in
the folder `<boot>@<topic prefix>`. Whoever gets the lock of a dead process owns what it left.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without it has no spool: the settings refuse it
    fcntl = None  # type: ignore[assignment]

CAN_LOCK = fcntl is not None
LOCK = ".lock"


class Claim:
    """The sub-folder `folder`, and the locked file that makes it ours."""

    def __init__(self, folder: Path, fd: int) -> None:
        self.folder = folder
        self._fd: int | None = fd

    def release(self) -> None:
        """Leave the sub-folder as it is, to whoever wants it."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def remove(self) -> None:
        """Remove the sub-folder, which is empty, and let go of it. What else is in there stays."""
        with suppress(OSError):
            self.folder.rmdir()
            _lock_file(self.folder).unlink()
        self.release()


def claim(folder: Path) -> Claim | None:
    """Make `folder` ours and make it, unless a living process owns it: then None. Raises OSError."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _lock_file(folder)
    while True:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(lock, fd):
                folder.mkdir(mode=0o700, exist_ok=True)
                claimed = Claim(folder, fd)
                _release_in_children(claimed)
                return claimed
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its owner has just removed it: try the new file


def claim_left(base: Path, topic_prefix: str) -> Iterator[Claim]:
    """Yield the sub-folders of dead processes for the same topics, each ours from then on."""
    try:
        locks = sorted(base.glob(f"*@{topic_prefix}{LOCK}"), key=lambda path: path.stat().st_mtime_ns)
    except OSError:  # one has just gone: there is a next time
        return
    for lock in locks:
        with suppress(OSError):
            found = claim(lock.with_name(lock.name[: -len(LOCK)]))
            if found is not None:
                yield found


def _release_in_children(claimed: Claim) -> None:
    """A forked child would hold the lock beyond its parent's death."""
    reference = weakref.ref(claimed)

    def release() -> None:
        inherited = reference()
        if inherited is not None:
            inherited.release()

    os.register_at_fork(after_in_child=release)


def _lock_file(folder: Path) -> Path:
    return folder.with_name(folder.name + LOCK)


def _is_still(lock: Path, fd: int) -> bool:
    try:
        there = lock.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
