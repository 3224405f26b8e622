"""One access log file on disk: identified by its first bytes, and read from an offset.

A file's name identifies it poorly: rotation renames, copies, compresses or truncates files. The first bytes of a log
contain times and addresses, and serve as its fingerprint. If a log's lines repeat, the fingerprint is useless, and the
modification times of the rotated files show which is newer.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import logging
import lzma
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Self

import msgspec

logger = logging.getLogger("endpoint_analytics")

PREFIX_BYTES = 1_024
_PIECE_BYTES = 65_536
_OPENERS: Mapping[str, Callable[[IO[bytes]], Any]] = {
    ".gz": lambda raw: gzip.GzipFile(fileobj=raw),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
COMPRESSED = frozenset(_OPENERS)
"""Suffixes of compressed files, which are read decompressed."""
UNREADABLE = (EOFError, zlib.error, lzma.LZMAError, OSError)
"""Raised by a file that is damaged, truncated, or still being compressed."""


class Fingerprint(msgspec.Struct, frozen=True):
    """A hash of a file's first `size` bytes (at most PREFIX_BYTES), which never change."""

    size: int
    sha256: str

    def matches(self, prefix: bytes) -> bool:
        """Return whether a file with these first bytes is the same file or a copy; never true for empty files."""
        return 0 < self.size <= len(prefix) and fingerprint(prefix[: self.size]) == self


class Position(msgspec.Struct, frozen=True):
    """How far a log was read: the file and offset, and which rotated files are done.

    If the log's lines repeat, `rotated_ns` is the modification time of the newest rotated file older than it.
    """

    path: str
    inode: int
    offset: int
    first: Fingerprint
    done: tuple[Fingerprint, ...] = ()
    rotated_ns: int | None = None


NOTHING = Fingerprint(0, "")
"""The fingerprint of an empty file."""


def fingerprint(prefix: bytes) -> Fingerprint:
    """Return the fingerprint of a file with these first bytes."""
    return NOTHING if not prefix else Fingerprint(len(prefix), hashlib.sha256(prefix).hexdigest()[:32])


def repeats(data: bytes) -> bool:
    """Return whether complete lines occur at least twice on average: then they contain no timestamps."""
    lines = data.split(b"\n")[:-1]
    return 0 < len(set(lines)) * 2 <= len(lines)


class LogFile:
    """An open log file, read from `offset`.

    `done` are the files that must not be read after it, `rotated_ns` is the newest modification time of the files
    before it, and `after_alike` is whether the lines of the previous file repeated.
    """

    def __init__(
        self,
        path: Path,
        offset: int = 0,
        done: tuple[Fingerprint, ...] = (),
        rotated_ns: int = 0,
        *,
        after_alike: bool = False,
    ) -> None:
        """Open the file; raises one of UNREADABLE."""
        self.path = path.resolve()  # a link may soon point elsewhere
        self.done = done
        self.rotated_ns = rotated_ns
        self._after_alike = after_alike
        self.is_compressed = self.path.suffix in COMPRESSED
        self._raw: IO[bytes] = self.path.open("rb", buffering=0)
        self._is_damaged = False
        try:
            self.inode = os.fstat(self._raw.fileno()).st_ino
            self._file: Any = _OPENERS[self.path.suffix](self._raw) if self.is_compressed else self._raw
            self.prefix = self._read_prefix()
        except BaseException:
            self._raw.close()
            raise
        self.offset = offset

    @property
    def first(self) -> Fingerprint:
        """The fingerprint of the bytes read so far."""
        return fingerprint(self.prefix)

    @property
    def is_alike(self) -> bool:
        """Whether another file of this log may look the same: its lines repeat, or are too few to tell."""
        return repeats(self.prefix) or (self._after_alike and self.prefix.count(b"\n") < 2)

    def size(self) -> int:
        """Return the readable size in bytes; a huge number for a compressed file, whose size is unknown."""
        return 2**62 if self.is_compressed else os.fstat(self._raw.fileno()).st_size

    def changed_ns(self) -> int:
        """Return when it was last written."""
        return os.fstat(self._raw.fileno()).st_mtime_ns

    def is_replaced(self, data: bytes) -> bool:
        """Return whether the file was rewritten from its start since it was opened; its new prefix is then unknown.

        `data` is what was read at `offset` before this call: it belongs to the old content if the result is False.
        """
        if self.is_compressed:
            return False
        if self.size() < self.offset:
            return True
        now = self._read_prefix()
        read = (self.prefix[: self.offset] + data)[:PREFIX_BYTES] if self.offset < PREFIX_BYTES else b""
        if not (now.startswith(self.prefix) and now.startswith(read)):
            return True
        self.prefix = now
        return False

    def is_at(self, path: Path) -> bool:
        """Return whether the file currently has this name."""
        try:
            named, opened = path.stat(), os.fstat(self._raw.fileno())
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def read(self, most_bytes: int) -> bytes:
        """Return the next bytes without advancing. A damaged compressed file ends where the damage starts."""
        if not self.is_compressed:
            self._file.seek(self.offset)
            return bytes(self._file.read(most_bytes))
        pieces, length = [], 0
        try:
            self._file.seek(self.offset)
            while length < most_bytes and (piece := self._file.read1(_PIECE_BYTES)):
                pieces.append(piece)
                length += len(piece)
        except UNREADABLE as error:
            if not self._is_damaged:
                logger.warning("%s is damaged; lines are missing: %s", self.path, error)
            self._is_damaged = True
        return b"".join(pieces)

    def position(self, offset: int) -> Position:
        """Return the position of `offset`, to find it again later."""
        if not self.is_alike:
            return Position(str(self.path), self.inode, offset, self.first, self.done)
        # Bytes after the offset may belong to new content that looks the same.
        read = fingerprint(self.prefix[:offset])
        return Position(str(self.path), self.inode, offset, read, self.done, self.rotated_ns)

    def matches(self, position: Position) -> bool:
        """Return whether this is the file of the position, or a copy that is long enough."""
        if self.size() < position.offset:
            return False
        if not position.first.size:
            return self.inode == position.inode
        return position.first.matches(self.prefix)

    def first_bytes(self, most_bytes: int) -> bytes:
        """Return the first bytes without advancing."""
        offset, self.offset = self.offset, 0
        try:
            return self.read(most_bytes)
        finally:
            self.offset = offset

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_prefix(self) -> bytes:
        self._file.seek(0)
        return bytes(self._file.read(PREFIX_BYTES))
