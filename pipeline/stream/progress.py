"""How far each partition is stored, in the broker's time: told to ClickHouse every second, by who reads it.

A partition is read up to a moment when all is stored that the log held then. Two things say so: the append time of
the newest stored message, and, where nothing comes, the log's end: it was asked for at a moment, and all before it is
stored. Each row is true for ever, so that a worker that was stopped, or lost its partitions, says nothing wrong.
No Kafka and no ClickHouse here: times and offsets are arguments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from endpoint_analytics.pipeline.core.rows import Row, seconds3

PAUSE_MS = 5_000
"""A rise of more is a pause: nobody could append, or nobody read. Silence before it says nothing."""
CLOCKS_AGREE_MS = 3_000
"""The way from the broker's stamp to here takes up to so long; what is more is a clock that is ahead."""
_CLOCK_WINDOW_MS = 60_000


class Stored(NamedTuple):
    """A partition as it is stored: one after its last stored offset, and when the broker appended that one."""

    next_offset: int
    append_ms: int | None


class Look(NamedTuple):
    """The log ended at `end_offset` at the moment `at_ms`, or later."""

    at_ms: int
    end_offset: int


@dataclass(slots=True)
class PartitionProgress:
    """One partition's way: looks that wait to be reached, and what was reached."""

    waiting: list[Look] = field(default_factory=list)
    """The oldest look that is not reached, and the newest."""
    seen_end: int = 0
    read_to_ms: int | None = None
    steady_since_ms: int = 0

    def look(self, look: Look) -> None:
        """Take up a look at the log's end."""
        self.seen_end = look.end_offset
        self.waiting = [*self.waiting[:1], look]

    def advance(self, stored: Stored) -> bool:
        """Take up what is stored; returns whether `read_to_ms` rose."""
        reached = [look for look in self.waiting if stored.next_offset >= look.end_offset]
        moments = [look.at_ms for look in reached]
        if stored.append_ms is not None:
            moments.append(stored.append_ms)
        self.waiting = [look for look in self.waiting if look not in reached]
        newest = max(moments, default=None)
        if newest is None or (self.read_to_ms is not None and newest <= self.read_to_ms):
            return False
        if self.read_to_ms is None or newest - self.read_to_ms > PAUSE_MS:
            self.steady_since_ms = newest
        self.read_to_ms = newest
        return True


class Now(NamedTuple):
    """The time by two clocks that may differ: see `two_clocks`."""

    earliest_ms: int
    latest_ms: int


class BrokerClock:
    """How much our earliest clock is ahead of the broker's, at most: from messages that came after a look.

    Until one comes the earliest is believed. Looks are stamped here and messages there. Where the clocks differ by more
    than the way takes, looks are put back by the most that it can be, so that a partition is never said to be read
    further than it is; and forward, to our latest clock at most, where ours is the one that is behind.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque()

    def observe(self, now_ms: int, append_ms: int) -> None:
        """Take up a message that is known to be newer than a look."""
        self._seen.append((now_ms, now_ms - append_ms))
        while self._seen[0][0] < now_ms - _CLOCK_WINDOW_MS:
            self._seen.popleft()

    def broker_ms(self, now: Now) -> int:
        """Return the broker's time for ours, or earlier."""
        ahead_ms = min((ahead for _, ahead in self._seen), default=0)
        if abs(ahead_ms) <= CLOCKS_AGREE_MS:
            return now.earliest_ms
        return min(now.earliest_ms - ahead_ms, now.latest_ms)


class Progress:
    """All partitions of one worker."""

    def __init__(self) -> None:
        self._clock = BrokerClock()
        self._partitions: dict[tuple[str, int], PartitionProgress] = {}

    def look(self, now: Now, ends: Iterable[tuple[str, int, int]]) -> None:
        """Take up the ends of the log by stream and partition; `now` is from before they were asked for."""
        at_ms = self._clock.broker_ms(now)
        found = {(stream, partition): end for stream, partition, end in ends}
        # What is not ours any more is another's to tell.
        self._partitions = {key: self._partitions.get(key) or PartitionProgress() for key in found}
        for key, end in found.items():
            self._partitions[key].look(Look(at_ms, end))

    def advance(self, now: Now, stored: Iterable[tuple[str, int, Stored]]) -> list[Row]:
        """Take up what is stored of each partition, and return the rows that tell of it."""
        rows = []
        for stream, partition, found in stored:
            progress = self._partitions.get((stream, partition))
            if progress is None:
                continue
            # A stamp of a topic of CreateTime may be of the future, and what is told here is believed for ever.
            append_ms = None if found.append_ms is None else min(found.append_ms, now.latest_ms)
            if append_ms is not None and found.next_offset > progress.seen_end:
                self._clock.observe(now.earliest_ms, append_ms)
            if progress.advance(found._replace(append_ms=append_ms)):
                rows.append(_row(stream, partition, progress, found))
        return rows


def _row(stream: str, partition: int, progress: PartitionProgress, stored: Stored) -> Row:
    row: dict[str, object] = {
        "stream": stream,
        "partition": partition,
        "read_to": seconds3(progress.read_to_ms or 0),
        "steady_since": seconds3(progress.steady_since_ms),
        "next_offset": stored.next_offset,
        "end_offset": max(progress.seen_end, stored.next_offset),
    }
    return Row("partition_progress", row)
