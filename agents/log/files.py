"""One log file on disk: told apart from others by its first bytes, read from where the reading stands.

A name says little: rotation renames a file, copies it, compresses it, or writes into it from its start. The
first bytes of a log hold times and addresses, and are its fingerprint. Where lines repeat they say nothing, and the
times of the rotated files tell which came later.
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
"""What is read as what it was before."""
UNREADABLE = (EOFError, zlib.error, lzma.LZMAError, OSError)
"""Raised by a file that is damaged, cut off, or not yet compressed to its end."""


class Fingerprint(msgspec.Struct, frozen=True):
    """Of a file's first bytes, which never change: `size` of them, PREFIX_BYTES at most."""

    size: int
    sha256: str

    def matches(self, prefix: bytes) -> bool:
        """Return whether a file with these first bytes is the same, or a copy; empty files never are."""
        return 0 < self.size <= len(prefix) and fingerprint(prefix[: self.size]) == self


class Position(msgspec.Struct, frozen=True):
    """How far a log was read: of which file, and which of the rotated ones are done with.

    Where its lines repeat, `rotated_ns` is the time of the newest rotated file that came before it.
    """

    path: str
    inode: int
    offset: int
    first: Fingerprint
    done: tuple[Fingerprint, ...] = ()
    rotated_ns: int | None = None


NOTHING = Fingerprint(0, "")
"""Of a file that holds nothing."""


def fingerprint(prefix: bytes) -> Fingerprint:
    """Return the fingerprint of a file with these first bytes."""
    return NOTHING if not prefix else Fingerprint(len(prefix), hashlib.sha256(prefix).hexdigest()[:32])


def repeats(data: bytes) -> bool:
    """Return whether the whole lines occur twice and more, on average: they tell no times."""
    lines = data.split(b"\n")[:-1]
    return 0 < len(set(lines)) * 2 <= len(lines)


class LogFile:
    """An open log file, read from `offset` on.

    `done` are the files that are not to be read after it, `rotated_ns` the newest time of those before it,
    `after_alike` whether the lines of the one before it repeated.
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
        """Raises one of UNREADABLE."""
        self.path = path.resolve()  # a link may soon lead elsewhere
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
        """The fingerprint, as far as it is known."""
        return fingerprint(self.prefix)

    @property
    def is_alike(self) -> bool:
        """Whether another file of this log may look like it: its lines repeat, or there are too few to say."""
        return repeats(self.prefix) or (self._after_alike and self.prefix.count(b"\n") < 2)

    def size(self) -> int:
        """Return the bytes that can be read in all; of a compressed one, none can be told before."""
        return 2**62 if self.is_compressed else os.fstat(self._raw.fileno()).st_size

    def changed_ns(self) -> int:
        """Return when it was written last."""
        return os.fstat(self._raw.fileno()).st_mtime_ns

    def is_replaced(self, data: bytes) -> bool:
        """Return whether the file was begun anew since it was opened; its new first bytes are then unknown.

        `data` is what was read at `offset` before this question: of the file as it was, when the answer is no.
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
        """Return whether the file has this name now."""
        try:
            there, ours = path.stat(), os.fstat(self._raw.fileno())
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def read(self, most_bytes: int) -> bytes:
        """Return the next bytes, without going on. A damaged compressed file ends at its damage."""
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
        """Return how to find `offset` of this file again."""
        if not self.is_alike:
            return Position(str(self.path), self.inode, offset, self.first, self.done)
        read = fingerprint(
            self.prefix[:offset]
        )  # what is behind it may belong to a new beginning that looks alike
        return Position(str(self.path), self.inode, offset, read, self.done, self.rotated_ns)

    def matches(self, position: Position) -> bool:
        """Return whether this is the file that the position was of, or a copy that is as long."""
        if self.size() < position.offset:
            return False
        if not position.first.size:
            return self.inode == position.inode
        return position.first.matches(self.prefix)

    def first_bytes(self, most_bytes: int) -> bytes:
        """Return the first bytes, without going on."""
        offset, self.offset = self.offset, 0
        try:
            return self.read(most_bytes)
        finally:
            self.offset = offset

    def close(self) -> None:
        """Let go of it."""
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_prefix(self) -> bytes:
        self._file.seek(0)
        return bytes(self._file.read(PREFIX_BYTES))
