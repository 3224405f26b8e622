"""How far each partition is stored, in the broker's time: its worker reports this to ClickHouse every second.

A partition is read up to a moment if everything that its Kafka log contained then is stored. There are two sources: the
append time of the newest stored message, and, if no messages arrive, the log's end offset as queried at some moment,
once everything before it is stored. Each row stays true forever, so a stopped worker, or one that lost its partitions,
has reported nothing wrong. No Kafka and no ClickHouse here: times and offsets are arguments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from endpoint_analytics.pipeline.core.rows import Row, seconds3
from endpoint_analytics.schemas.metrics import HEARTBEAT_TIMEOUT_S

PAUSE_MS = 5_000
"""A larger step is a pause, in which nothing could be appended or read. Silence before it means nothing."""
CLOCKS_AGREE_MS = 3_000
"""Maximum latency from the broker's timestamp to here; a larger difference means that a clock is ahead."""
_CLOCK_WINDOW_MS = 60_000


class Stored(NamedTuple):
    """How far a partition is stored: the offset after the last stored one, and when the broker appended the last."""

    next_offset: int
    append_ms: int | None


class LogEnd(NamedTuple):
    """The Kafka log reached `end_offset` at the moment `at_ms`, or later."""

    at_ms: int
    end_offset: int


@dataclass(slots=True)
class PartitionProgress:
    """The progress of one partition: ends of the log not reached yet, and how far it was read."""

    waiting: list[LogEnd] = field(default_factory=list)
    """The oldest end not reached yet, and the newest."""
    seen_end: int = 0
    read_to_ms: int | None = None
    steady_since_ms: int = 0
    stopped_ms: int = 0
    """How far it was read when it last stood still, before `steady_since_ms`; 0 if that is not known."""
    steady_ms: int = 0
    """Time read without pauses since `stopped_ms`."""

    @classmethod
    def of_report(cls, read_to_ms: int, steady_since_ms: int, stopped_ms: int) -> Self:
        """Return the progress that was reported last, by whichever worker."""
        steady_ms = read_to_ms - steady_since_ms
        return cls(
            read_to_ms=read_to_ms, steady_since_ms=steady_since_ms, stopped_ms=stopped_ms, steady_ms=steady_ms
        )

    def observe_end(self, end: LogEnd) -> None:
        """Record where the log ended at some moment."""
        self.seen_end = end.end_offset
        self.waiting = [*self.waiting[:1], end]

    def advance(self, stored: Stored) -> bool:
        """Record how far it is stored; returns whether `read_to_ms` advanced."""
        reached = [end for end in self.waiting if stored.next_offset >= end.end_offset]
        moments = [end.at_ms for end in reached]
        if stored.append_ms is not None:
            moments.append(stored.append_ms)
        self.waiting = [end for end in self.waiting if end not in reached]
        newest = max(moments, default=None)
        if newest is None or (self.read_to_ms is not None and newest <= self.read_to_ms):
            return False
        if self.read_to_ms is None:
            self.steady_since_ms = newest
        elif newest - self.read_to_ms > PAUSE_MS:
            # Agents that had no time to report since the pause before were last alive at that one.
            if not self.stopped_ms or self.steady_ms > HEARTBEAT_TIMEOUT_S * 1000:
                self.stopped_ms, self.steady_ms = self.read_to_ms, 0
            self.steady_since_ms = newest
        else:
            self.steady_ms += newest - self.read_to_ms
        self.read_to_ms = newest
        return True


class Now(NamedTuple):
    """The time by two clocks that may differ: see `two_clocks`."""

    earliest_ms: int
    latest_ms: int


class BrokerClock:
    """How far our earliest clock is ahead of the broker's, at most, measured by messages appended after a query.

    Until there is such a message, the earliest clock is trusted. The ends of the log get our timestamps, messages the
    broker's. If the clocks differ by more than the latency, our timestamps are moved back by the maximum difference, so
    that a partition is never reported as read further than it is; if our clock is behind, they are moved forward, at
    most to our latest clock.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque()

    def observe(self, now_ms: int, append_ms: int) -> None:
        """Record a message that is known to be newer than the last query."""
        self._seen.append((now_ms, now_ms - append_ms))
        while self._seen[0][0] < now_ms - _CLOCK_WINDOW_MS:
            self._seen.popleft()

    def broker_ms(self, now: Now) -> int:
        """Return the broker's time at `now`, or an earlier one."""
        ahead_ms = min((ahead for _, ahead in self._seen), default=0)
        if abs(ahead_ms) <= CLOCKS_AGREE_MS:
            return now.earliest_ms
        return min(now.earliest_ms - ahead_ms, now.latest_ms)


class WorkerProgress:
    """All partitions of one worker."""

    def __init__(self) -> None:
        self._clock = BrokerClock()
        self._partitions: dict[tuple[str, int], PartitionProgress] = {}

    def is_new(self, stream: str, partition: int) -> bool:
        """Whether the partition has just become ours: what was reported of it before is not known yet."""
        return (stream, partition) not in self._partitions

    def observe_ends(
        self,
        now: Now,
        ends: Iterable[tuple[str, int, int]],
        reported: Mapping[tuple[str, int], PartitionProgress] | None = None,
    ) -> None:
        """Record the ends of the log by stream and partition; `now` must be from before they were queried.

        `reported` is what was reported of partitions that have just become ours.
        """
        at_ms = self._clock.broker_ms(now)
        found = {(stream, partition): end for stream, partition, end in ends}
        before = {**(reported or {}), **self._partitions}
        # Partitions that are no longer ours are reported by their new owner.
        self._partitions = {key: before.get(key) or PartitionProgress() for key in found}
        for key, end in found.items():
            self._partitions[key].observe_end(LogEnd(at_ms, end))

    def advance(self, now: Now, stored: Iterable[tuple[str, int, Stored]]) -> list[Row]:
        """Record how far each partition is stored, and return the rows that report it."""
        rows = []
        for stream, partition, found in stored:
            progress = self._partitions.get((stream, partition))
            if progress is None:
                continue
            # With CreateTime, a timestamp may be in the future, but what is reported here counts forever.
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
        "stopped_at": seconds3(progress.stopped_ms),
        "next_offset": stored.next_offset,
        "end_offset": max(progress.seen_end, stored.next_offset),
    }
    return Row("partition_progress", row)
