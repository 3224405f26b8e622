"""How far the pipeline has come, as the worker tells it, and what follows for each replica. One query, then pure.

Every outlet reads it first: what was heard of a replica is judged at the moment that its partitions were read to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from endpoint_analytics.pipeline.store.presence import LastHeard, Presence
from endpoint_analytics.schemas.replicas import State

if TYPE_CHECKING:
    from endpoint_analytics.pipeline.store.endpoint_metrics import Reader

Place = tuple[str, int]
"""A stream and its partition."""

PROGRESS = """
SELECT stream, partition, max(read_to), argMax(steady_since, read_to) FROM partition_progress
GROUP BY stream, partition
"""

LONGEST = timedelta(days=2)
"""Replicas that were heard of before are not looked for, however late the pipeline is."""
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Come(NamedTuple):
    """How far a partition is stored, and since when that has risen steadily."""

    read_to: datetime
    steady_since: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """All partitions. One that no worker ever told of is read to nowhere."""

    partitions: Mapping[Place, Come]

    def of(self, place: Place) -> Come:
        """Return how far the partition has come."""
        return self.partitions.get(place) or Come(_NEVER, _NEVER)

    def heard(
        self,
        append_at: datetime | None,
        place: Place | None,
        state: State | None,
        state_at: datetime | None,
        state_partition: int | None,
    ) -> LastHeard:
        """Return what was heard of a replica: its agent's last word came by `place`, its last state by a partition."""
        come = []
        if append_at is not None and place is not None:
            read_to, steady_since = self.of(place)
            come.append(Come(max(read_to, append_at), steady_since))  # what is stored was read
        if state_partition is not None:
            come.append(self.of(("replicas", state_partition)))
        return LastHeard(
            append_at,
            state,
            state_at,
            read_to=min((each.read_to for each in come), default=_NEVER),
            steady_since=max((each.steady_since for each in come), default=_NEVER),
        )

    def slowest(self, now: datetime) -> datetime:
        """Return the moment that the slowest partition has come to, at most now and at least LONGEST ago."""
        oldest = min((come.read_to for come in self.partitions.values()), default=_NEVER)
        return max(min(oldest, now), now - LONGEST)

    def alive_from(self, presence: Presence, now: datetime) -> datetime:
        """Return since when an agent must have spoken to be alive; that of late partitions is not known anyway."""
        moments = (
            come.read_to for come in self.partitions.values() if come.read_to >= now - presence.heartbeat
        )
        return min((*moments, now)) - presence.heartbeat

    def is_late(self, place: Place, presence: Presence, now: datetime) -> bool:
        """Whether what the partition says is too old to speak of now."""
        return self.of(place).read_to < now - presence.heartbeat

    def unknown_since(
        self, heard: Iterable[tuple[str, LastHeard]], presence: Presence, now: datetime
    ) -> datetime | None:
        """Return since when it is not known which replicas of an endpoint run; None while it is known.

        `heard` are its present replicas. Without any, some that nobody has heard of yet may be in a late partition.
        """
        since = [at for name, each in heard if (at := each.unknown_since(name, presence, now)) is not None]
        if since:
            return min(since)
        slowest = self.slowest(now)
        return slowest if not any(True for _ in heard) and slowest < now - presence.heartbeat else None


def parse_progress(rows: Iterable[Sequence[Any]]) -> Progress:
    """Return the progress in the rows of PROGRESS."""
    return Progress({(stream, int(partition)): Come(*come) for stream, partition, *come in rows})


async def read_progress(reader: Reader) -> Progress:
    """Return how far the pipeline has come; raises StoreError."""
    return parse_progress(await reader.read(PROGRESS, {}))
