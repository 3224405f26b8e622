"""Follows an access log through its rotations: returns complete lines, each once, with their end offsets.

It finishes a renamed file before it continues with the new one, and reads the rest of a truncated file from its copy.
`now_s` is an argument: nothing here waits.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from endpoint_analytics.agents.log.files import NOTHING, UNREADABLE, Fingerprint, LogFile, Position
from endpoint_analytics.agents.log.rotations import Rotated, Rotations, is_snapshot

logger = logging.getLogger("endpoint_analytics")

READ_BYTES = 4 * 1_048_576
MAX_LINE_BYTES = 65_536
GRACE_S = 2.0
"""How long a renamed file must be idle: its writer reopens the log only some time after the rename."""


@dataclass(frozen=True, slots=True)
class LogLines:
    """Complete lines of one file, without line ends; `ends` are the offsets after each."""

    file: LogFile
    lines: list[bytes]
    ends: list[int]


class Follower:
    """Follows the log at `path` from `position`, or from its start or end if there is none."""

    def __init__(self, path: Path, position: Position | None, *, from_end: bool = False) -> None:
        self._path = path
        self._rotations = Rotations(path)
        self._file: LogFile | None = None
        self._position = position
        self._from_end = from_end
        self._idle_since_s: float | None = None
        self._copied: tuple[int, float] | None = None

    @property
    def position(self) -> Position | None:
        """The current read position."""
        return self._position if self._file is None else self._file.position(self._file.offset)

    def open(self) -> LogFile | None:
        """Open the file of the current position, if there is one; `poll` does so too. Raises OSError."""
        if self._file is None:
            self._file = self._opened()
        return self._file

    def poll(self, now_s: float) -> LogLines | None:
        """Return the next lines, each once; None if there are none yet."""
        file = self.open()
        if file is None:
            return None
        if not file.offset and (file := self._switch_to_earlier(file)) is None:
            return None
        data = file.read(READ_BYTES)
        is_truncated = file.is_replaced(data) or self._is_copied_and_truncated(file, now_s)
        if is_truncated is None:
            return None
        if is_truncated:
            self._switch_to_copy(file)
            return self.poll(now_s)
        end = data.rfind(b"\n") + 1
        if end:
            self._idle_since_s = None
            return _lines(file, data[:end])
        if len(data) > MAX_LINE_BYTES:
            return _too_long(file, data)
        following = self._following(file, now_s)
        return None if following is None else self._advance(file, following, data)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> LogFile | None:
        position = self._position
        if position is not None:
            found = self._rotations.find(position)
            if found is not None:
                return found
            if not self._path.exists():
                return None
            if position.first.size:
                logger.warning("%s: the file that was read last is gone; lines may be missing", self._path)
            is_alike = position.rotated_ns is not None
            return self._next(self._path, position.done, after_alike=is_alike)
        before, file = self._current()
        if file is None:
            # Everything in a file that appears later is new.
            self._position = Position(str(self._path), 0, 0, NOTHING, before)
            return None
        if self._from_end:
            file.offset = _whole_lines(file)
        return file

    def _current(self) -> tuple[tuple[Fingerprint, ...], LogFile | None]:
        """Return the fingerprints of the files rotated before the current log, and that log."""
        while True:
            names, before = self._rotations.names(), self._rotations.all()
            try:
                file = self._next(self._path, before, after_alike=False)
            except FileNotFoundError:
                file = None
            if self._rotations.names() == names:
                return before, file
            if file is not None:
                file.close()

    def _is_copied_and_truncated(self, file: LogFile, now_s: float) -> bool | None:
        """Whether a log with repeating lines, whose new content looks like the old, was copied and truncated.

        None until that is certain: the copy must be idle, because the log is truncated only afterwards.
        """
        copies = self._rotations.copies(file)
        if not copies:
            self._copied = None
            return False
        newest_ns = copies[-1].changed_ns
        if self._copied is None or self._copied[0] != newest_ns:
            self._copied = newest_ns, now_s
        if now_s - self._copied[1] < GRACE_S:
            return None
        with LogFile(copies[-1].path) as copy:
            if not is_snapshot(file, copy):
                return True
        file.rotated_ns = newest_ns
        return False

    def _switch_to_copy(self, file: LogFile) -> None:
        """The file was truncated: its unread lines may be in a copy."""
        self._position = file.position(file.offset)
        self._copied = None
        self.close()

    def _switch_to_earlier(self, file: LogFile) -> LogFile | None:
        """Nothing was read from this file yet: return the file that was rotated before it, if unread, else this one.

        None if that file cannot be opened now.
        """
        earlier = self._rotations.unread(file) if file.is_at(self._path) else None
        if earlier is None:
            return file
        opened = self._open_rotated(earlier, file.done, file)
        if opened is not None:
            file.close()
            self._file = opened
        return opened

    def _open_rotated(
        self, rotated: Rotated, done: tuple[Fingerprint, ...], before: LogFile
    ) -> LogFile | None:
        """Open a rotated file; None if it was just rotated again, so that its name may refer to another file."""
        try:
            file = self._next(rotated.path, done, after_alike=before.is_alike)
        except UNREADABLE:
            return None
        if file.inode == rotated.inode:
            return file
        file.close()
        return None

    def _next(self, path: Path, done: tuple[Fingerprint, ...], *, after_alike: bool) -> LogFile:
        """Open a file to read from its start. Raises one of UNREADABLE."""
        return LogFile(path, 0, done, self._rotations.before_ns(path), after_alike=after_alike)

    def _following(self, file: LogFile, now_s: float) -> Path | Rotated | None:
        """Return what to read next once the file is finished: another file has lines, and this one is idle."""
        following = None if file.is_at(self._path) else self._rotations.unread(file)
        if following is None and (file.is_at(self._path) or not _is_non_empty(self._path)):
            self._idle_since_s = None
            return None
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        is_done = file.is_compressed or now_s - self._idle_since_s >= GRACE_S
        return (following or self._path) if is_done else None

    def _advance(self, file: LogFile, following: Path | Rotated, rest: bytes) -> LogLines | None:
        """Switch to the next file; an unterminated last line counts as a line."""
        done = self._rotations.done_after(file)
        opened: LogFile | None = None
        if isinstance(following, Rotated):
            opened = self._open_rotated(following, done, file)
        else:
            with suppress(*UNREADABLE):  # it has just been rotated
                opened = self._next(following, done, after_alike=file.is_alike)
        if opened is None:
            return None
        self._file = opened
        self._idle_since_s = None
        file.close()
        return LogLines(file, [rest], [file.offset + len(rest)]) if rest else None


def _is_non_empty(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _lines(file: LogFile, data: bytes) -> LogLines:
    lines, ends, at = [], [], file.offset
    for line in data.split(b"\n")[:-1]:
        at += len(line) + 1
        lines.append(line.removesuffix(b"\r"))
        ends.append(at)
    file.offset = at
    return LogLines(file, lines, ends)


def _too_long(file: LogFile, data: bytes) -> LogLines:
    """Return the start of an overlong line; the rest of it will not parse either."""
    file.offset += len(data)
    return LogLines(file, [data[:MAX_LINE_BYTES]], [file.offset])


def _whole_lines(file: LogFile) -> int:
    """Return where the last complete line ends."""
    size = file.size()
    file.offset = max(size - MAX_LINE_BYTES, 0)
    data = file.read(MAX_LINE_BYTES)
    return file.offset + data.rfind(b"\n") + 1
