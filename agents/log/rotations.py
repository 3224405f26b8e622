"""The files of one log: which of them stands where the reading stopped, and which are still to be read.

A rotated file is to be read unless it was read, or was there before the reading began: the order of their
times and names says little, since compressing a file may make it new.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from endpoint_analytics.agents.log.files import (
    COMPRESSED,
    UNREADABLE,
    Fingerprint,
    LogFile,
    Position,
    fingerprint,
)

_UNREAD_SUFFIXES = frozenset({".zst", ".lz4", ".lzo", ".br", ".Z", ".zip", ".7z", ".tmp", ".part"})


class Rotations:
    """Of the log at `path`, which may be a link. First bytes are remembered as long as a file stays as it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._prefixes: dict[tuple[int, int, int], bytes] = {}

    def files(self) -> list[tuple[Path, int, bytes]]:
        """Return path, inode and first bytes of each rotated file that holds something; the oldest first."""
        paths = {self._path, self._path.resolve()}
        found = sorted({each for path in paths for each in _rotated(path)})
        prefixes: dict[tuple[int, int, int], bytes] = {}
        listed = []
        for mtime_ns, path, inode, size in found:
            key = (inode, mtime_ns, size)
            prefix = self._prefixes.get(key) or _read_prefix(path)
            if prefix:
                prefixes[key] = prefix
                listed.append((path, inode, prefix))
        self._prefixes = prefixes
        return listed

    def all(self) -> tuple[Fingerprint, ...]:
        """Return the fingerprints of all that are there."""
        return tuple({fingerprint(prefix) for _, _, prefix in self.files()})

    def unread(self, file: LogFile) -> Path | None:
        """Return the oldest that was not read, neither before `file` nor as `file` itself or a copy of it."""
        for path, inode, prefix in self.files():
            is_itself = inode == file.inode or _is_copy(prefix, file.prefix)
            if not is_itself and not any(done.matches(prefix) for done in file.done):
                return path
        return None

    def done_after(self, file: LogFile) -> tuple[Fingerprint, ...]:
        """Return what is done when `file` was read: as much of it as is still there to be read twice."""
        prefixes = [prefix for _, _, prefix in self.files()]
        there = [done for done in file.done if any(done.matches(prefix) for prefix in prefixes)]
        return (*there, file.first) if file.prefix else tuple(there)

    def find(self, position: Position) -> LogFile | None:
        """Return the file of the position, opened there, whatever its name is now; None when it is gone.

        The file itself goes before a copy, and what is not compressed before what may still be written.
        """
        paths = [Path(position.path), self._path, *(path for path, _, _ in reversed(self.files()))]
        best: tuple[tuple[bool, bool], LogFile] | None = None
        for path in dict.fromkeys(paths):
            try:
                file = LogFile(path, position.offset, position.done)
            except UNREADABLE:
                continue
            rank = (file.inode == position.inode, not file.is_compressed)
            if not file.matches(position) or (best is not None and best[0] >= rank):
                file.close()
                continue
            if best is not None:
                best[1].close()
            best = rank, file
        return None if best is None else best[1]


def _rotated(path: Path) -> list[tuple[int, Path, int, int]]:
    """Return mtime_ns, path, inode and size of what rotations of `path` left beside it."""
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    packed = "|".join(map(re.escape, COMPRESSED))
    name = re.compile(rf"(?:{stem}{suffix}[.-]\d[\w.-]*|{stem}[.-]\d[\w.-]*{suffix})(?:{packed})?")
    found = []
    with suppress(FileNotFoundError):
        for entry in os.scandir(path.parent):
            if not name.fullmatch(entry.name) or Path(entry.name).suffix in _UNREAD_SUFFIXES:
                continue
            with suppress(FileNotFoundError):  # a rotation goes on beside us
                if entry.is_file():
                    there = entry.stat()
                    found.append((there.st_mtime_ns, Path(entry.path), there.st_ino, there.st_size))
    return found


def _read_prefix(path: Path) -> bytes:
    try:
        file = LogFile(path)
    except UNREADABLE:
        return b""
    file.close()
    return file.prefix


def _is_copy(one: bytes, other: bytes) -> bool:
    return bool(one and other) and (one.startswith(other) or other.startswith(one))
