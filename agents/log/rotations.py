"""The files of one log: which of them stands where the reading stopped, and which are still to be read.

A rotated file is to be read unless it was read, or was there before the reading began: the order of their
times and names says little, since compressing a file may make it new. Only where a log's lines repeat, so that its
files look alike, the times are all there is.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from endpoint_analytics.agents.log.files import (
    COMPRESSED,
    UNREADABLE,
    Fingerprint,
    LogFile,
    Position,
    fingerprint,
    repeats,
)

COMPARED_BYTES = 1_048_576
_UNREAD_SUFFIXES = frozenset({".zst", ".lz4", ".lzo", ".br", ".Z", ".zip", ".7z", ".tmp", ".part"})


class Rotated(NamedTuple):
    """A rotated file that holds something."""

    path: Path
    inode: int
    prefix: bytes
    changed_ns: int


class Rotations:
    """Of the log at `path`, which may be a link. First bytes are remembered as long as a file stays as it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._prefixes: dict[tuple[int, int, int], bytes] = {}

    def names(self) -> frozenset[tuple[Path, int]]:
        """Return the log and its rotated files, each with its inode: while they stay so, nothing is rotated."""
        there = {(path, inode) for _, path, inode, _ in self._listed()}
        with suppress(FileNotFoundError):
            there.add((self._path, self._path.stat().st_ino))
        return frozenset(there)

    def files(self) -> list[Rotated]:
        """Return each rotated file that holds something, as they stood at one moment; the oldest first."""
        while True:
            before, files = self.names(), self._files()
            if self.names() == before:
                return files

    def _listed(self) -> list[tuple[int, Path, int, int]]:
        paths = {self._path, self._path.resolve()}
        return sorted({each for path in paths for each in _rotated(path)})

    def _files(self) -> list[Rotated]:
        found = self._listed()
        prefixes: dict[tuple[int, int, int], bytes] = {}
        listed = []
        for mtime_ns, path, inode, size in found:
            key = (inode, mtime_ns, size)
            prefix = self._prefixes.get(key) or _read_prefix(path, inode)
            if prefix:
                prefixes[key] = prefix
                listed.append(Rotated(path, inode, prefix, mtime_ns))
        self._prefixes = prefixes
        return listed

    def all(self) -> tuple[Fingerprint, ...]:
        """Return the fingerprints of all that are there."""
        return tuple({fingerprint(each.prefix) for each in self.files()})

    def before_ns(self, path: Path) -> int:
        """Return the time of the newest that came before the file at `path`, 0 when there is none."""
        files = self.files()
        own_ns = next((each.changed_ns for each in files if each.path == path), None)
        return max(
            (each.changed_ns for each in files if own_ns is None or each.changed_ns < own_ns), default=0
        )

    def copies(self, file: LogFile) -> list[Rotated]:
        """Return the copies of a log whose lines repeat that were made since it was opened, and before it was
        written last; the oldest first.
        """
        if not file.is_alike:
            return []
        between = [each for each in self.files() if file.rotated_ns < each.changed_ns <= file.changed_ns()]
        return [each for each in between if each.inode != file.inode and _is_copy(each.prefix, file.prefix)]

    def unread(self, file: LogFile) -> Rotated | None:
        """Return the oldest that was not read, neither before `file` nor as `file` itself or a copy of it."""
        if file.is_alike:
            since_ns = file.rotated_ns if file.is_at(self._path) else file.changed_ns()
            newer = [each for each in self.files() if each.changed_ns > since_ns]
            return next((each for each in newer if each.inode != file.inode), None)
        for each in self.files():
            is_itself = each.inode == file.inode or _is_copy(each.prefix, file.prefix)
            if not is_itself and not any(done.matches(each.prefix) for done in file.done):
                return each
        return None

    def done_after(self, file: LogFile) -> tuple[Fingerprint, ...]:
        """Return what is done when `file` was read: as much of it as is still there to be read twice."""
        prefixes = [each.prefix for each in self.files()]
        there = [done for done in file.done if any(done.matches(prefix) for prefix in prefixes)]
        return (*there, file.first) if file.prefix else tuple(there)

    def find(self, position: Position) -> LogFile | None:
        """Return the file of the position, opened there, whatever its name is now; None when it is gone.

        The file itself goes before a copy, and what is not compressed before what may still be written. Of a log whose
        lines repeat the oldest goes first that was rotated since: the file itself, or its copy, while at its old place
        another may look like it.
        """
        while True:
            before, found = self.names(), self._found(position)
            if found is not None or self.names() == before:
                return found

    def _found(self, position: Position) -> LogFile | None:
        files = self.files()
        is_alike = position.rotated_ns is not None
        if position.rotated_ns is not None:
            newer = [each for each in files if each.changed_ns > position.rotated_ns]
            for each in newer:
                with suppress(*UNREADABLE):
                    file = LogFile(
                        each.path, position.offset, position.done, position.rotated_ns, after_alike=True
                    )
                    is_it = file.inode == each.inode and file.matches(position)
                    if is_it and not self._is_still_there(position, file):
                        return file
                    file.close()
        paths = [Path(position.path), self._path, *(each.path for each in reversed(files))]
        best: tuple[tuple[bool, bool], LogFile] | None = None
        for path in dict.fromkeys(paths):
            try:
                rotated_ns = position.rotated_ns if is_alike else self.before_ns(path)
                file = LogFile(path, position.offset, position.done, rotated_ns or 0, after_alike=is_alike)
            except UNREADABLE:
                continue
            rank = (file.inode == position.inode, not file.is_compressed)
            looks_alike = is_alike and file.inode != position.inode
            if looks_alike or not file.matches(position) or (best is not None and best[0] >= rank):
                file.close()
                continue
            if best is not None:
                best[1].close()
            best = rank, file
        return None if best is None else best[1]

    def _is_still_there(self, position: Position, copy: LogFile) -> bool:
        """Return whether the file of the position is at its place and holds more than lines that repeat."""
        try:
            file = LogFile(self._path)
        except UNREADABLE:
            return False
        try:
            return file.inode == position.inode and file.matches(position) and is_snapshot(file, copy)
        finally:
            file.close()


def is_snapshot(file: LogFile, copy: LogFile) -> bool:
    """Return whether `file` still holds what was copied of it: as much as can be compared, and not by chance."""
    most = min(file.size(), COMPARED_BYTES)
    there, copied = file.first_bytes(most), copy.first_bytes(most)
    length = min(len(there), len(copied))
    return there[:length] == copied[:length] and not repeats(there[:length])


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


def _read_prefix(path: Path, inode: int) -> bytes:
    """Return the first bytes; nothing when they cannot be read, or another file has the name by now."""
    try:
        with LogFile(path) as file:
            return file.prefix if file.inode == inode else b""
    except UNREADABLE:
        return b""


def _is_copy(one: bytes, other: bytes) -> bool:
    return bool(one and other) and (one.startswith(other) or other.startswith(one))
