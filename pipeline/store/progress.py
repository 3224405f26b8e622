"""How far the pipeline has read, as reported by the worker, and what follows for each replica. One query, then pure.

Every outlet reads it first: a replica is judged at the moment up to which its partitions were read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from endpoint_analytics.pipeline.store.presence import LastHeard
from endpoint_analytics.schemas.replicas import State

if TYPE_CHECKING:
    from endpoint_analytics.pipeline.store.endpoint_metrics import Reader

StreamPartition = tuple[str, int]
"""A stream and its partition."""

PROGRESS = """
SELECT stream, partition, max(read_to), argMax(steady_since, read_to) FROM partition_progress
GROUP BY stream, partition
"""

LONGEST = timedelta(days=2)
"""Replicas last reported before this are not considered, however late the pipeline is."""
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class PartitionProgress(NamedTuple):
    """How far a partition is stored, and since when that has advanced steadily."""

    read_to: datetime
    steady_since: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of all partitions; one that no worker ever reported counts as never read."""

    partitions: Mapping[StreamPartition, PartitionProgress]

    def of(self, partition: StreamPartition) -> PartitionProgress:
        """Return the progress of the partition."""
        return self.partitions.get(partition) or PartitionProgress(_NEVER, _NEVER)

    def heard(
        self,
        append_at: datetime | None,
        partition: StreamPartition | None,
        state: State | None,
        state_at: datetime | None,
        state_partition: int | None,
    ) -> LastHeard:
        """Return the last reports of a replica: its agent's, which came through `partition`, and its state's."""
        found = []
        if append_at is not None and partition is not None:
            read_to, steady_since = self.of(partition)
            found.append(PartitionProgress(max(read_to, append_at), steady_since))  # what is stored was read
        if state_partition is not None:
            found.append(self.of(("replicas", state_partition)))
        return LastHeard(
            append_at,
            state,
            state_at,
            read_to=min((each.read_to for each in found), default=_NEVER),
            steady_since=max((each.steady_since for each in found), default=_NEVER),
        )

    def slowest(self, now: datetime) -> datetime:
        """Return the moment up to which the slowest partition was read, between LONGEST ago and now."""
        oldest = min((each.read_to for each in self.partitions.values()), default=_NEVER)
        return max(min(oldest, now), now - LONGEST)


def parse_progress(rows: Iterable[Sequence[Any]]) -> Progress:
    """Return the progress in the rows of PROGRESS."""
    return Progress(
        {(stream, int(partition)): PartitionProgress(*values) for stream, partition, *values in rows}
    )


async def read_progress(reader: Reader) -> Progress:
    """Return the pipeline's progress; raises StoreError."""
    return parse_progress(await reader.read(PROGRESS, {}))
