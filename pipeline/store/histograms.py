"""Cumulative duration histograms of an endpoint's replicas, from the sketches of all windows since a fixed start.

Counts are read from hours, minutes and 10 s windows, each where it is settled, and add up to the same from whichever
level: any number of query services show the same histogram. What is read of hours and minutes is kept until a late row
changes it, so a scrape reads only the last minutes.

A histogram never shrinks while its replica lives. Its start moves on in steps of half the retention of hours, before
the first hours are deleted; each step resets it, as readers of counters expect (`created_s` says so).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.reader import Reader, Row
from endpoint_analytics.pipeline.store.rollup_levels import (
    DAY_S,
    HOUR,
    MINUTE,
    TEN_SECONDS,
    RollupLevel,
    RollupProgress,
)

Phase = Literal["latency", "ttfb"]
PHASES: tuple[Phase, ...] = ("latency", "ttfb")

SETTLED_MINUTES_S, SETTLED_HOURS_S = 180, 7_200
"""Windows are read from a coarser level this long after their end: by then, late rows were rolled up again."""
FURTHEST_BEHIND_S = 6 * 3_600
"""If a level is rolled up less far, the histograms are unknown: reading so many fine rows would take too long."""

_OF_THE_REPLICAS = """namespace = {namespace:String} AND endpoint = {endpoint:String}
    AND replica_id IN {replicas:Array(String)}
    AND window_start >= toDateTime({from:UInt32}, 'UTC') AND window_start < toDateTime({to:UInt32}, 'UTC')"""

_COUNTS = """
SELECT replica_id, '{phase}', groupArray(bucket), groupArray(requests)
FROM
(
    SELECT replica_id, bucket, sum(count) AS requests
    FROM {table} FINAL ARRAY JOIN {phase}_buckets AS bucket, {phase}_counts AS count
    WHERE {where}
    GROUP BY replica_id, bucket
    ORDER BY replica_id, bucket
)
GROUP BY replica_id
"""

_SUMS = """
SELECT replica_id, sum(latency_sum_us), sum(ttfb_sum_us) FROM {table} FINAL WHERE {where} GROUP BY replica_id
"""

# Rows of the whole endpoint have no replica; each rollup of a window writes a newer version.
REVISIONS = """
SELECT
    (SELECT max(version) FROM request_hours WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
        AND replica_id = '' AND window_start >= toDateTime({start:UInt32}, 'UTC')
        AND window_start < toDateTime({hours_to:UInt32}, 'UTC')),
    (SELECT max(version) FROM request_minutes WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
        AND replica_id = '' AND window_start >= toDateTime({hours_to:UInt32}, 'UTC')
        AND window_start < toDateTime({minutes_to:UInt32}, 'UTC'))
"""

_FOREVER = 2**32 - 1


class Durations(NamedTuple):
    """Durations by bucket of the sketch (ascending), and their sum."""

    buckets: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    sum_us: int = 0

    @property
    def total(self) -> int:
        """Return the number of durations."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class ReplicaHistograms:
    """A replica's durations since `created_s`, in seconds since 1970."""

    created_s: int
    durations: Mapping[Phase, Durations]


class Boundaries(NamedTuple):
    """Which level is read where: hours from `start_s`, minutes from `hours_to_s`, windows from `minutes_to_s` on."""

    start_s: int
    hours_to_s: int
    minutes_to_s: int


def boundaries(now_s: int, progress: RollupProgress) -> Boundaries | None:
    """Return which level is read where; None if a level is too far behind."""
    if min(progress.minute_to, progress.hour_to) < now_s - FURTHEST_BEHIND_S:
        return None
    step_s = max(progress.retention.hour // 2, 1) * DAY_S
    start_s = max(now_s // step_s - 1, 0) * step_s
    hours_to_s = min(progress.hour_to, now_s - SETTLED_HOURS_S) // HOUR.seconds * HOUR.seconds
    minutes_to_s = min(progress.minute_to, now_s - SETTLED_MINUTES_S) // MINUTE.seconds * MINUTE.seconds
    return Boundaries(start_s, hours_to_s, minutes_to_s)


def merge(parts: Iterable[Durations]) -> Durations:
    """Return the durations of all parts."""
    found: dict[int, int] = {}
    sum_us = 0
    for part in parts:
        sum_us += part.sum_us
        for bucket, count in zip(part.buckets, part.counts, strict=True):
            found[bucket] = found.get(bucket, 0) + count
    buckets = tuple(sorted(found))
    return Durations(buckets, tuple(found[bucket] for bucket in buckets), sum_us)


_Found = dict[tuple[str, Phase], Durations]


@dataclass(slots=True)
class _Settled:
    """What was read of one level: of these windows, as of a revision. Replicas are added as they are asked for."""

    key: tuple[int, int, int]
    replicas: set[str] = field(default_factory=set)
    found: _Found = field(default_factory=dict)


@dataclass(slots=True)
class _Kept:
    """What is kept of an endpoint: by level, and the newest histograms."""

    settled: dict[str, _Settled] = field(default_factory=dict)
    newest: dict[str, ReplicaHistograms] = field(default_factory=dict)


class HistogramReader:
    """Reads histograms, and keeps what is settled, for at most `endpoints` endpoints."""

    def __init__(self, reader: Reader, endpoints: int) -> None:
        self._reader = reader
        self._bound = endpoints
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    async def read(
        self, namespace: str, endpoint: str, replicas: Sequence[str], now_s: int, progress: RollupProgress
    ) -> dict[str, ReplicaHistograms]:
        """Return the histograms of the replicas, {} while they are unknown; raises StoreError."""
        limits = boundaries(now_s, progress)
        if limits is None or not replicas:
            return {}
        of = {"namespace": namespace, "endpoint": endpoint}
        kept = self._kept.setdefault((namespace, endpoint), _Kept())
        self._kept.move_to_end((namespace, endpoint))
        while len(self._kept) > self._bound:
            self._kept.popitem(last=False)
        revisions = {
            "start": limits.start_s,
            "hours_to": limits.hours_to_s,
            "minutes_to": limits.minutes_to_s,
        }
        ((hours_at, minutes_at),) = await self._reader.read(REVISIONS, of | revisions)
        async with query_group() as group:
            parts = [
                group.create_task(
                    self._settled(kept, of, HOUR, replicas, (limits.start_s, limits.hours_to_s, hours_at))
                ),
                group.create_task(
                    self._settled(
                        kept, of, MINUTE, replicas, (limits.hours_to_s, limits.minutes_to_s, minutes_at)
                    )
                ),
                group.create_task(self._read(of, TEN_SECONDS, replicas, limits.minutes_to_s, _FOREVER)),
            ]
        found = [part.result() for part in parts]
        nothing = Durations()
        histograms = {}
        for replica in replicas:
            durations = {
                phase: merge(part.get((replica, phase), nothing) for part in found) for phase in PHASES
            }
            before = kept.newest.get(replica)
            # A row that is late by just as much as a level takes to settle is missing for some seconds.
            if before is not None and before.created_s == limits.start_s:
                durations = {
                    phase: max(before.durations[phase], durations[phase], key=lambda each: each.total)
                    for phase in PHASES
                }
            histograms[replica] = ReplicaHistograms(limits.start_s, durations)
        kept.newest = histograms
        return histograms

    async def _settled(
        self,
        kept: _Kept,
        of: Mapping[str, str],
        level: RollupLevel,
        replicas: Sequence[str],
        key: tuple[int, int, int],
    ) -> _Found:
        settled = kept.settled.get(level.name)
        if settled is None or settled.key != key:
            settled = _Settled(key)
        new = [replica for replica in replicas if replica not in settled.replicas]
        if new:
            settled.found.update(await self._read(of, level, new, key[0], key[1]))
            settled.replicas.update(new)
            kept.settled[level.name] = settled
        return settled.found

    async def _read(
        self, of: Mapping[str, str], level: RollupLevel, replicas: Sequence[str], from_s: int, to_s: int
    ) -> _Found:
        if from_s >= to_s:
            return {}
        parameters = {**of, "replicas": list(replicas), "from": from_s, "to": to_s}
        async with query_group() as group:
            sums = group.create_task(self._reader.read(_sums_sql(level), parameters))
            counts = group.create_task(self._reader.read(_counts_sql(level), parameters))
        return parse_durations(counts.result(), sums.result())


def parse_durations(counts: Iterable[Row], sums: Iterable[Row]) -> _Found:
    """Return the durations by replica and phase: counts by bucket, and the sum."""
    sum_of = {replica: dict(zip(PHASES, row, strict=True)) for replica, *row in sums}
    return {
        (replica, phase): Durations(tuple(buckets), tuple(requests), sum_of[replica][phase])
        for replica, phase, buckets, requests in counts
        if replica in sum_of
    }


def _counts_sql(level: RollupLevel) -> str:
    return "UNION ALL".join(
        _COUNTS.format(phase=phase, table=level.requests, where=_OF_THE_REPLICAS) for phase in PHASES
    )


def _sums_sql(level: RollupLevel) -> str:
    return _SUMS.format(table=level.requests, where=_OF_THE_REPLICAS)
