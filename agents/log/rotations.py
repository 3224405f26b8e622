"""The rotated files of one access log: finds the one where reading stopped, and those that are still unread.

A rotated file is read unless it was read already, or existed before reading started: the order of times and names is
unreliable, since compression may create a new file. Only if a log's lines repeat, so that its files look the same, are
modification times used instead.
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
    """A rotated file that is not empty."""

    path: Path
    inode: int
    prefix: bytes
    changed_ns: int


class Rotations:
    """The rotated files of the log at `path`, which may be a link. Caches prefixes of unchanged files."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._prefixes: dict[tuple[int, int, int], bytes] = {}

    def names(self) -> frozenset[tuple[Path, int]]:
        """Return the log and its rotated files, each with its inode: if they are unchanged, nothing was rotated."""
        names = {(path, inode) for _, path, inode, _ in self._listed()}
        with suppress(FileNotFoundError):
            names.add((self._path, self._path.stat().st_ino))
        return frozenset(names)

    def files(self) -> list[Rotated]:
        """Return a consistent list of the rotated files that are not empty, oldest first."""
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
        """Return the fingerprints of all rotated files."""
        return tuple({fingerprint(each.prefix) for each in self.files()})

    def before_ns(self, path: Path) -> int:
        """Return the modification time of the newest file older than the one at `path`, 0 if there is none."""
        files = self.files()
        own_ns = next((each.changed_ns for each in files if each.path == path), None)
        return max(
            (each.changed_ns for each in files if own_ns is None or each.changed_ns < own_ns), default=0
        )

    def copies(self, file: LogFile) -> list[Rotated]:
        """Return the copies of a log with repeating lines that were made after it was opened and before it was last
        written, oldest first.
        """
        if not file.is_alike:
            return []
        between = [each for each in self.files() if file.rotated_ns < each.changed_ns <= file.changed_ns()]
        return [each for each in between if each.inode != file.inode and _is_copy(each.prefix, file.prefix)]

    def unread(self, file: LogFile) -> Rotated | None:
        """Return the oldest unread file: not read before `file`, and neither `file` itself nor a copy of it."""
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
        """Return the fingerprints that are done once `file` was read, without those of deleted files."""
        prefixes = [each.prefix for each in self.files()]
        existing = [done for done in file.done if any(done.matches(prefix) for prefix in prefixes)]
        return (*existing, file.first) if file.prefix else tuple(existing)

    def find(self, position: Position) -> LogFile | None:
        """Return the position's file, opened at its offset, whatever its current name; None if it is gone.

        The file itself is preferred to a copy, and an uncompressed file to a compressed one, which may still be
        written. For a log with repeating lines, the oldest file rotated since is preferred: it is the file itself or
        its copy, while another file under the old name may look the same.
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
                    if is_it and not self._is_still_current(position, file):
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

    def _is_still_current(self, position: Position, copy: LogFile) -> bool:
        """Return whether the position's file still has its name, and is verifiably the original of the copy."""
        try:
            file = LogFile(self._path)
        except UNREADABLE:
            return False
        try:
            return file.inode == position.inode and file.matches(position) and is_snapshot(file, copy)
        finally:
            file.close()


def is_snapshot(file: LogFile, copy: LogFile) -> bool:
    """Return whether `file` still starts with what was copied from it, and not just because its lines repeat."""
    most = min(file.size(), COMPARED_BYTES)
    current, copied = file.first_bytes(most), copy.first_bytes(most)
    length = min(len(current), len(copied))
    return current[:length] == copied[:length] and not repeats(current[:length])


def _rotated(path: Path) -> list[tuple[int, Path, int, int]]:
    """Return mtime_ns, path, inode and size of the files that rotations of `path` left next to it."""
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    packed = "|".join(map(re.escape, COMPRESSED))
    name = re.compile(rf"(?:{stem}{suffix}[.-]\d[\w.-]*|{stem}[.-]\d[\w.-]*{suffix})(?:{packed})?")
    found = []
    with suppress(FileNotFoundError):
        for entry in os.scandir(path.parent):
            if not name.fullmatch(entry.name) or Path(entry.name).suffix in _UNREAD_SUFFIXES:
                continue
            with suppress(FileNotFoundError):  # a rotation is in progress
                if entry.is_file():
                    status = entry.stat()
                    found.append((status.st_mtime_ns, Path(entry.path), status.st_ino, status.st_size))
    return found


def _read_prefix(path: Path, inode: int) -> bytes:
    """Return the first bytes; empty if they cannot be read, or the name now belongs to another file."""
    try:
        with LogFile(path) as file:
            return file.prefix if file.inode == inode else b""
    except UNREADABLE:
        return b""


def _is_copy(one: bytes, other: bytes) -> bool:
    return bool(one and other) and (one.startswith(other) or other.startswith(one))
