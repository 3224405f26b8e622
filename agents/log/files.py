"""Log files on disk: told apart by inode and first bytes, found again after they were rotated.

A name says little: rotation renames a file, copies it, compresses it, or writes into it from its start. The
first bytes of a log hold times and addresses, and are its fingerprint.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

PREFIX_BYTES = 1_024


class Position(msgspec.Struct, frozen=True):
    """How far a file was read. `prefix_sha256` is of its first `prefix_bytes` bytes: they never change."""

    inode: int
    offset: int
    prefix_bytes: int
    prefix_sha256: str


class LogFile:
    """An open log file, read from `offset` on. Compressed ones are read as what they were."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """Raises OSError; EOFError for a compressed one that is cut off."""
        self.path = path
        self._raw: IO[bytes] = path.open("rb", buffering=0)
        try:
            self.inode = os.fstat(self._raw.fileno()).st_ino
            self.is_compressed = path.suffix == ".gz"
            self._file: IO[bytes] = gzip.GzipFile(fileobj=self._raw) if self.is_compressed else self._raw  # type: ignore[assignment]
            self.prefix = self.read_prefix()
        except BaseException:
            self._raw.close()
            raise
        self.offset = offset

    def read_prefix(self) -> bytes:
        """Return the first bytes, as they are now."""
        self._file.seek(0)
        return self._file.read(PREFIX_BYTES)

    def modified_ns(self) -> int:
        """Return when it was last written."""
        return os.fstat(self._raw.fileno()).st_mtime_ns

    def size(self) -> int:
        """Return the bytes that can be read in all; of a compressed one, none can be told before."""
        return 2**62 if self.is_compressed else os.fstat(self._raw.fileno()).st_size

    def is_replaced(self) -> bool:
        """Return whether the file was begun anew since it was opened; its new first bytes are then unknown."""
        if self.is_compressed:
            return False
        if self.size() < self.offset:
            return True
        now = self.read_prefix()
        if not now.startswith(self.prefix):
            return True
        self.prefix = now
        return False

    def read(self, most_bytes: int) -> bytes:
        """Return the next bytes, without going on."""
        self._file.seek(self.offset)
        return self._file.read(most_bytes)

    def position(self, offset: int) -> Position:
        """Return how to find `offset` of this file again."""
        return Position(self.inode, offset, len(self.prefix), hashlib.sha256(self.prefix).hexdigest())

    def matches(self, position: Position) -> bool:
        """Return whether this is the file that the position was of, or a copy that is as long."""
        prefix = self.prefix[: position.prefix_bytes]
        if len(prefix) < position.prefix_bytes or self.size() < position.offset:
            return False
        if hashlib.sha256(prefix).hexdigest() != position.prefix_sha256:
            return False
        return bool(position.prefix_bytes) or self.inode == position.inode

    def close(self) -> None:
        """Let go of it."""
        self._raw.close()


def rotated(path: Path) -> list[Path]:
    """Return the files that rotations of `path` left behind, and not `path`, the one written last at the end."""
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    name = re.compile(rf"(?:{stem}{suffix}[.-]\d[\w.-]*|{stem}[.-]\d[\w.-]*{suffix})(?:\.gz)?")
    found = []
    for entry in os.scandir(path.parent):
        with suppress(FileNotFoundError):  # a rotation goes on beside us
            if name.fullmatch(entry.name) and entry.is_file():
                found.append((entry.stat().st_mtime_ns, Path(entry.path)))
    return [each for _, each in sorted(found)]


def find(path: Path, position: Position) -> LogFile | None:
    """Return the file of the position, opened there, whatever its name is now; None when it is gone."""
    best: LogFile | None = None
    for candidate in [path, *reversed(rotated(path))]:
        try:
            file = LogFile(candidate, position.offset)
        except (OSError, EOFError):
            continue
        is_better = best is None or (best.inode != position.inode and file.inode == position.inode)
        if file.matches(position) and is_better:
            if best is not None:
                best.close()
            best = file
        else:
            file.close()
    return best


def successor(path: Path, file: LogFile) -> Path:
    """Return the file that was begun after `file`: one that was rotated since, or `path` itself."""
    last_ns = file.modified_ns()
    for candidate in rotated(path):
        try:
            found = candidate.stat()
        except FileNotFoundError:
            continue
        if found.st_mtime_ns > last_ns and found.st_ino != file.inode:
            return candidate
    return path
