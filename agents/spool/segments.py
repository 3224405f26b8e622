"""A spool log: one boot's messages for one topic on disk, in ordered segment files, appended to and read once.

Rules: when `append` returns, its messages are fsynced; a segment that was read is never written again; a segment is
deleted when Kafka has all of it, or to stay under the size limit. Disk errors are OSError. Used by one thread.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from endpoint_analytics.agents.spool.frame import Found, SpoolRecord, frame, read_frames

SUFFIX = ".spool"


class Numbered(NamedTuple):
    """A message and its number within its topic, starting at 1."""

    number: int
    message: bytes


@dataclass(slots=True, eq=False)
class Segment:
    """A file of records with consecutive numbers. `count` is None if another process left it and it is still unread.

    `born` orders the segments of all logs. `read`: its records were returned by `read`, so they are in memory too.
    """

    path: Path
    first: int
    size_bytes: int = 0
    count: int | None = 0
    read: bool = False
    born: int = field(default_factory=time.monotonic_ns)

    @property
    def last(self) -> int:
        """The number of its last record, `first - 1` when it has none."""
        return self.first + (self.count or 0) - 1


class SpoolLog:
    """The segments of `topic` in `directory`, including any that another process left there."""

    def __init__(self, directory: Path, topic: str, segment_bytes: int) -> None:
        self.directory = directory
        self.topic = topic
        self.damaged = 0
        self.segments = deque(
            Segment(path, number, found.st_size, None, born=found.st_mtime_ns)
            for number, path in _existing(directory, topic)
            if (found := path.stat())
        )
        self._segment_bytes = segment_bytes
        self._fd: int | None = None
        self._stored_through = 0

    @property
    def size_bytes(self) -> int:
        """Total size of its files."""
        return sum(segment.size_bytes for segment in self.segments)

    @property
    def waiting(self) -> int:
        """Number of records that Kafka is not known to have."""
        return sum(max(s.last - max(s.first - 1, self._stored_through), 0) for s in self.segments)

    def append(self, key: bytes, messages: Sequence[Numbered], partition: int | None = None) -> None:
        """Write messages with consecutive numbers and fsync once; on OSError, none of them was kept."""
        segment = self._tail(messages[0].number, sum(len(message) for _, message in messages))
        frames = b"".join(
            frame(SpoolRecord(number - segment.first, self.topic, key, message, partition))
            for number, message in messages
        )
        try:
            if self._fd is None:
                self._fd = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                self.segments.append(segment)
                _sync_directory(self.directory)
            _write(self._fd, frames)
            os.fsync(self._fd)
        except OSError:
            self._discard_tail(segment)
            raise
        segment.size_bytes += len(frames)
        segment.count = messages[-1].number - segment.first + 1

    def read(self) -> list[tuple[int, SpoolRecord]] | None:
        """Return the numbered records of the oldest unread segment, without those that Kafka is known to have.

        None if every segment was read. Damaged records are left out and added to `damaged`; a file that cannot be
        read counts as damaged as a whole.
        """
        segment = next((segment for segment in self.segments if not segment.read), None)
        if segment is None:
            return None
        if segment is self.segments[-1]:
            self._close_tail()
        segment.read = True
        known = segment.count
        found = read_segment(segment.path)
        if known is None:
            segment.count = found.records[-1].index + 1 if found.records else 0
        records = [
            (segment.first + record.index, record)
            for record in found.records
            if segment.first + record.index > self._stored_through
        ]
        if known is None:
            self.damaged += found.damaged
        else:
            wanted = segment.last - max(segment.first - 1, self._stored_through)
            self.damaged += max(wanted, 0) - len(records)
        return records

    def delete_through(self, through: int) -> None:
        """Kafka has all messages up to number `through`: delete their segments."""
        self._stored_through = max(self._stored_through, through)
        while self.segments and self.segments[0].last <= self._stored_through:
            self._remove(self.segments.popleft())

    def delete_all_read(self) -> None:
        """Kafka has everything that was read: delete those segments."""
        while self.segments and self.segments[0].read:
            self._remove(self.segments.popleft())

    def droppable(self, sending_through: int) -> Segment | None:
        """Return the oldest segment that may be dropped, if any.

        Messages that were read, or are being sent from memory (up to number `sending_through`), stay: they may reach
        Kafka, so they must neither be counted as lost nor be lost if the process dies.
        """
        return next((s for s in self.segments if not s.read and s.first > sending_through), None)

    def drop(self, segment: Segment) -> int:
        """Delete the segment; returns how many records are lost with it."""
        if segment.count is None:
            found = read_segment(segment.path)
            lost = len(found.records) + found.damaged
        else:
            lost = max(segment.last - max(segment.first - 1, self._stored_through), 0)
        if segment is self.segments[-1]:
            self._close_tail()
        self.segments.remove(segment)
        self._remove(segment)
        return lost

    def close(self) -> None:
        """Close the open file; what is on disk stays there."""
        self._close_tail()

    def _tail(self, first: int, size_bytes: int) -> Segment:
        if self._fd is not None:
            tail = self.segments[-1]
            if tail.last + 1 == first and tail.size_bytes + size_bytes <= self._segment_bytes:
                return tail
            self._close_tail()
        return Segment(self.directory / f"{self.topic}-{first:016d}{SUFFIX}", first)

    def _discard_tail(self, segment: Segment) -> None:
        """After an error it is unknown how much of the last write is on disk: end the segment before it."""
        with suppress(OSError):
            if self._fd is not None:
                os.ftruncate(self._fd, segment.size_bytes)
        self._close_tail()
        if not segment.count and self.segments and self.segments[-1] is segment:
            self._remove(self.segments.pop())

    def _close_tail(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with suppress(OSError):
                os.close(fd)

    def _remove(self, segment: Segment) -> None:
        if not self.segments:
            self._close_tail()
        with suppress(OSError):  # if it stays, it is sent again later, and the worker skips it
            segment.path.unlink()


def read_segment(path: Path) -> Found:
    """Return what a segment holds; a file that cannot be read counts as one damaged record."""
    try:
        data = path.read_bytes()
    except OSError:
        return Found([], 1)
    return read_frames(data)


def _existing(directory: Path, topic: str) -> Iterator[tuple[int, Path]]:
    start = f"{topic}-"
    for path in sorted(directory.glob(f"{start}*{SUFFIX}")):
        number = path.name[len(start) : -len(SUFFIX)]
        if number.isdecimal():
            yield int(number), path


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
