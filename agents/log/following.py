"""Follows a log through its rotations: gives whole lines, each once, and where each ends.

It reads a file that was renamed to its end before it goes on with the new one, and takes what a copy holds of a
file that was begun anew. `now_s` is an argument: nothing here waits.
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
"""How long a renamed file must be quiet: its writer is told to reopen it only after the renaming."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of one file, without their ends; `ends` are the offsets after each."""

    file: LogFile
    lines: list[bytes]
    ends: list[int]


class Follower:
    """Of the log at `path`, from `position`, or from its start or end where there is none."""

    def __init__(self, path: Path, position: Position | None, *, from_end: bool = False) -> None:
        self._path = path
        self._rotations = Rotations(path)
        self._file: LogFile | None = None
        self._position = position
        self._from_end = from_end
        self._quiet_since_s: float | None = None
        self._copied: tuple[int, float] | None = None

    @property
    def position(self) -> Position | None:
        """Where the reading stands."""
        return self._position if self._file is None else self._file.position(self._file.offset)

    def open(self) -> LogFile | None:
        """Open the file where the reading stands, if there is one; `poll` does so too. Raises OSError."""
        if self._file is None:
            self._file = self._opened()
        return self._file

    def poll(self, now_s: float) -> Lines | None:
        """Return the next lines; None when there are none yet. What was given is not given again."""
        file = self.open()
        if file is None:
            return None
        if not file.offset and (file := self._go_to_earlier(file)) is None:
            return None
        data = file.read(READ_BYTES)
        is_anew = file.is_replaced(data) or self._is_begun_anew(file, now_s)
        if is_anew is None:
            return None
        if is_anew:
            self._go_to_copy(file)
            return self.poll(now_s)
        end = data.rfind(b"\n") + 1
        if end:
            self._quiet_since_s = None
            return _lines(file, data[:end])
        if len(data) > MAX_LINE_BYTES:
            return _too_long(file, data)
        following = self._following(file, now_s)
        return None if following is None else self._go_on(file, following, data)

    def close(self) -> None:
        """Let go of the file."""
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
                logger.warning("%s: the part that was read last is gone; lines may be missing", self._path)
            is_alike = position.rotated_ns is not None
            return self._next(self._path, position.done, after_alike=is_alike)
        before, file = self._current()
        if file is None:
            # All that a file holds is new that comes later.
            self._position = Position(str(self._path), 0, 0, NOTHING, before)
            return None
        if self._from_end:
            file.offset = _whole_lines(file)
        return file

    def _current(self) -> tuple[tuple[Fingerprint, ...], LogFile | None]:
        """Return what was rotated before the log that is there now, and that log."""
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

    def _is_begun_anew(self, file: LogFile, now_s: float) -> bool | None:
        """Whether a log whose lines repeat, so that a new beginning looks like the old, was copied and truncated.

        None until that can be told: the copy must be quiet, since the truncation comes only after it.
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

    def _go_to_copy(self, file: LogFile) -> None:
        """The file was begun anew: what was not read of it may be in a copy."""
        self._position = file.position(file.offset)
        self._copied = None
        self.close()

    def _go_to_earlier(self, file: LogFile) -> LogFile | None:
        """Of the file itself nothing was read yet: what was rotated away before it comes first.

        None when that cannot be opened now.
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
        """Open a rotated file; None when it was rotated on just now, and another may have its name."""
        try:
            file = self._next(rotated.path, done, after_alike=before.is_alike)
        except UNREADABLE:
            return None
        if file.inode == rotated.inode:
            return file
        file.close()
        return None

    def _next(self, path: Path, done: tuple[Fingerprint, ...], *, after_alike: bool) -> LogFile:
        """Open a file that is read from its start. Raises one of UNREADABLE."""
        return LogFile(path, 0, done, self._rotations.before_ns(path), after_alike=after_alike)

    def _following(self, file: LogFile, now_s: float) -> Path | Rotated | None:
        """Return what to read next when the file is read and done with: another has lines, and it is quiet."""
        following = None if file.is_at(self._path) else self._rotations.unread(file)
        if following is None and (file.is_at(self._path) or not _holds_something(self._path)):
            self._quiet_since_s = None
            return None
        if self._quiet_since_s is None:
            self._quiet_since_s = now_s
        is_done = file.is_compressed or now_s - self._quiet_since_s >= GRACE_S
        return (following or self._path) if is_done else None

    def _go_on(self, file: LogFile, following: Path | Rotated, rest: bytes) -> Lines | None:
        """Take up the next file; a last line without an end is one all the same."""
        done = self._rotations.done_after(file)
        opened: LogFile | None = None
        if isinstance(following, Rotated):
            opened = self._open_rotated(following, done, file)
        else:
            with suppress(*UNREADABLE):  # it was rotated just now
                opened = self._next(following, done, after_alike=file.is_alike)
        if opened is None:
            return None
        self._file = opened
        self._quiet_since_s = None
        file.close()
        return Lines(file, [rest], [file.offset + len(rest)]) if rest else None


def _holds_something(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _lines(file: LogFile, data: bytes) -> Lines:
    lines, ends, at = [], [], file.offset
    for line in data.split(b"\n")[:-1]:
        at += len(line) + 1
        lines.append(line.removesuffix(b"\r"))
        ends.append(at)
    file.offset = at
    return Lines(file, lines, ends)


def _too_long(file: LogFile, data: bytes) -> Lines:
    """Give up a line without an end in sight; the rest of it will not fit either."""
    file.offset += len(data)
    return Lines(file, [data[:MAX_LINE_BYTES]], [file.offset])


def _whole_lines(file: LogFile) -> int:
    """Return where the last whole line ends."""
    size = file.size()
    file.offset = max(size - MAX_LINE_BYTES, 0)
    data = file.read(MAX_LINE_BYTES)
    return file.offset + data.rfind(b"\n") + 1
