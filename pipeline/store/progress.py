"""How far the pipeline has read, as reported by the worker, and what follows for each replica. One query, then pure.

Every outlet reads it first: a replica is judged at the moment up to which its partitions were read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from endpoint_analytics.pipeline.store.presence import LastHeard, Presence, has_resumed
from endpoint_analytics.schemas.replicas import State

if TYPE_CHECKING:
    from endpoint_analytics.pipeline.store.reader import Reader

StreamPartition = tuple[str, int]
"""A stream and its partition."""

PROGRESS = """
SELECT stream, partition, max(read_to), argMax(steady_since, read_to), argMax(stopped_at, read_to)
FROM partition_progress
GROUP BY stream, partition
"""

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)

LONGEST = timedelta(days=2)
"""Replicas last reported before this are not considered, however late the pipeline is."""
LONGEST_PAUSE = timedelta(days=90)
"""A partition may be paused until an operator has found out why; the rows of one that no longer exists stay, too."""


class ReportedProgress(NamedTuple):
    """How far a partition is stored, since when that advances steadily, and how far it was before; 1970 if unknown."""

    read_to: datetime
    steady_since: datetime
    stopped_at: datetime = _NEVER

    def has_resumed(self, now: datetime, presence: Presence) -> bool:
        """Whether reading has resumed so recently that live agents may not have reported again."""
        return has_resumed(self.steady_since, min(now, self.read_to), now, presence)


_UNREAD = ReportedProgress(_NEVER, _NEVER)


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of all partitions; one that no worker ever reported counts as never read."""

    partitions: Mapping[StreamPartition, ReportedProgress]

    def of(self, partition: StreamPartition) -> ReportedProgress:
        """Return the progress of the partition."""
        return self.partitions.get(partition) or _UNREAD

    def heard(
        self,
        append_at: datetime | None,
        partition: StreamPartition | None,
        state: State | None,
        state_at: datetime | None,
        state_partition: int | None,
        now: datetime,
        presence: Presence,
    ) -> LastHeard:
        """Return the last reports of a replica: its agent's, which came through `partition`, and its state's."""
        found = []
        if append_at is not None and partition is not None:
            progress = self.of(partition)
            # What is stored was read.
            found.append(progress if progress.read_to >= append_at else progress._replace(read_to=append_at))
        if state_partition is not None:
            found.append(self.of(("replicas", state_partition)))
        read_to = min((each.read_to for each in found), default=_NEVER)
        # If both have paused, the replica may have been alive until the first of them stopped.
        stopped = (
            each.stopped_at
            for each in found
            if each.stopped_at > _NEVER and has_resumed(each.steady_since, min(now, read_to), now, presence)
        )
        return LastHeard(
            append_at,
            state,
            state_at,
            read_to=read_to,
            steady_since=max((each.steady_since for each in found), default=_NEVER),
            stopped_at=min(stopped, default=_NEVER),
        )

    def slowest(self, now: datetime) -> datetime:
        """Return the moment up to which the slowest partition was read, between LONGEST ago and now.

        One that nobody read for LONGEST_PAUSE is gone: what it has would be unknown forever.
        """
        gone_before = self.newest(now) - LONGEST_PAUSE
        reached = (each.read_to for each in self.partitions.values())
        oldest = min((read_to for read_to in reached if read_to >= gone_before), default=_NEVER)
        return max(min(oldest, now), now - LONGEST)

    def newest(self, now: datetime) -> datetime:
        """Return the moment up to which any partition was read; now if that is not known."""
        return min(max((each.read_to for each in self.partitions.values()), default=now), now)

    def behind(self, now: datetime, presence: Presence) -> dict[StreamPartition, datetime]:
        """Return the partitions that were read less far than others by more than the heartbeat timeout, and how far.

        One that nobody read for LONGEST_PAUSE is gone.
        """
        newest = self.newest(now)
        return {
            partition: each.read_to
            for partition, each in self.partitions.items()
            if newest - LONGEST_PAUSE <= each.read_to < newest - presence.heartbeat
        }

    def judged_from(self, now: datetime, presence: Presence) -> datetime:
        """Return the earliest moment at which a replica may be judged now: where a partition is read to, or stopped."""
        slowest = self.slowest(now)
        stopped = (
            each.stopped_at
            for each in self.partitions.values()
            if each.stopped_at > _NEVER and has_resumed(each.steady_since, slowest, now, presence)
        )
        return max(min((*stopped, slowest)), now - LONGEST)


def parse_progress(rows: Iterable[Sequence[Any]]) -> Progress:
    """Return the progress in the rows of PROGRESS."""
    return Progress(
        {(stream, int(partition)): ReportedProgress(*values) for stream, partition, *values in rows}
    )


async def read_progress(reader: Reader) -> Progress:
    """Return the pipeline's progress; raises StoreError."""
    return parse_progress(await reader.read(PROGRESS, {}))
