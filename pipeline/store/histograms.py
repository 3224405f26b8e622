"""Cumulative duration histograms of an endpoint's replicas, from the sketches of all windows since a fixed start.

Counts are read from hours, minutes and 10 s windows, each where it is settled, and add up to the same from whichever
level. Where one level ends and the next begins follows from what is stored, so any number of query services show the
same. What is read of hours and minutes is kept until it is rolled up again; a scrape reads only the last minutes.

A histogram never shrinks while its replica lives. It restarts at 0 every half of the retention of hours, before the
first hours are deleted, as readers of counters expect.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
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
"""Windows are read from a coarser level this long after their end: most late rows were rolled up again by then."""
LATEST_S = 3 * DAY_S
"""Hours before this are not rolled up again: an agent's message is at most 48 h late."""
FURTHEST_BEHIND_S = 3_600
"""If a level is rolled up less far, the histograms are unknown: reading so many fine rows would take too long."""
_SLACK_S = 10
"""A rollup may have missed rows that were stored less than this before it looked."""

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

# Of each span of a level: the newest rollup and the number of windows. Rows of the whole endpoint have no replica.
_REVISION = """
    (SELECT (max(version), count()) FROM {table}
        WHERE namespace = {{namespace:String}} AND endpoint = {{endpoint:String}} AND replica_id = ''
        AND window_start >= toDateTime({{{from_name}:UInt32}}, 'UTC')
        AND window_start < toDateTime({{{to_name}:UInt32}}, 'UTC'))"""
REVISIONS = "SELECT" + ",".join(
    _REVISION.format(table=level.requests, from_name=from_name, to_name=to_name)
    for level, from_name, to_name in (
        (HOUR, "start", "old_to"),
        (HOUR, "old_to", "hours_to"),
        (MINUTE, "hours_to", "minutes_to"),
    )
)

# The oldest rows that the coarser level does not have yet, so it may not be read for their time: they count at once,
# and do not vanish for a moment when they come of age. Rows that are even later count as soon as they are rolled up.
_NOT_ROLLED_UP = """
    (SELECT toUnixTimestamp(min(window_start)) FROM {table}
        WHERE namespace = {{namespace:String}} AND endpoint = {{endpoint:String}}
        AND stored_at >= fromUnixTimestamp64Milli({{{looked_at}:Int64}}, 'UTC')
        AND window_start >= stored_at - INTERVAL {late_s} SECOND)"""
NOT_ROLLED_UP = "SELECT" + ",".join(
    (
        _NOT_ROLLED_UP.format(table=TEN_SECONDS.requests, looked_at="minutes_looked_at", late_s=3_600),
        _NOT_ROLLED_UP.format(table=MINUTE.requests, looked_at="hours_looked_at", late_s=21_600),
    )
)

_FOREVER = 2**32 - 1


class Durations(NamedTuple):
    """Durations by bucket of the sketch (ascending), and their sum."""

    buckets: Sequence[int] = ()
    counts: Sequence[int] = ()
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
    """Which level is read where: hours from `start_s`, minutes from `hours_to_s`, windows from `minutes_to_s` on.

    Hours before `old_to_s` no longer change.
    """

    start_s: int
    old_to_s: int
    hours_to_s: int
    minutes_to_s: int


def boundaries(
    now_s: int, progress: RollupProgress, unrolled_windows_s: int = 0, unrolled_minutes_s: int = 0
) -> Boundaries | None:
    """Return which level is read where; None if a level is too far behind.

    The last two are the oldest windows and minutes that the coarser level does not have yet; 0 if there are none.
    """
    if min(progress.minute_to, progress.hour_to + HOUR.seconds) < now_s - FURTHEST_BEHIND_S:
        return None
    step_s = max(progress.retention.hour // 2, 1) * DAY_S
    start_s = now_s // step_s * step_s
    hours_to_s = min(progress.hour_to, now_s) - SETTLED_HOURS_S
    minutes_to_s = min(progress.minute_to, now_s) - SETTLED_MINUTES_S
    if unrolled_windows_s:
        minutes_to_s = min(minutes_to_s, unrolled_windows_s)
    if unrolled_minutes_s:
        hours_to_s = min(hours_to_s, unrolled_minutes_s)
    hours_to_s = max(hours_to_s // HOUR.seconds * HOUR.seconds, start_s)
    minutes_to_s = max(minutes_to_s // MINUTE.seconds * MINUTE.seconds, hours_to_s)
    old_to_s = min(max(now_s // DAY_S * DAY_S - LATEST_S, start_s), hours_to_s)
    return Boundaries(start_s, old_to_s, hours_to_s, minutes_to_s)


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
    """What was read of one span of a level, as of a revision. Replicas are added as they are asked for."""

    key: tuple[object, ...]
    replicas: set[str] = field(default_factory=set)
    found: _Found = field(default_factory=dict)


class HistogramReader:
    """Reads histograms, and keeps what is settled, for at most `endpoints` endpoints."""

    def __init__(self, reader: Reader, endpoints: int) -> None:
        self._reader = reader
        self._bound = endpoints
        self._kept: OrderedDict[tuple[str, str], dict[str, _Settled]] = OrderedDict()

    async def read(
        self, namespace: str, endpoint: str, replicas: Sequence[str], now_s: int, progress: RollupProgress
    ) -> dict[str, ReplicaHistograms]:
        """Return the histograms of the replicas, {} while they are unknown; raises StoreError."""
        if not replicas or boundaries(now_s, progress) is None:
            return {}
        of = {"namespace": namespace, "endpoint": endpoint}
        looked_at = {
            "minutes_looked_at": progress.minutes_looked_at_ms - _SLACK_S * 1000,
            "hours_looked_at": progress.hours_looked_at_ms - _SLACK_S * 1000,
        }
        ((windows_s, minutes_s),) = await self._reader.read(NOT_ROLLED_UP, of | looked_at)
        limits = boundaries(now_s, progress, int(windows_s), int(minutes_s))
        if limits is None:
            return {}
        names = ("start", "old_to", "hours_to", "minutes_to")
        (revisions,) = await self._reader.read(REVISIONS, of | dict(zip(names, limits, strict=True)))
        kept = self._kept.setdefault((namespace, endpoint), {})
        self._kept.move_to_end((namespace, endpoint))
        while len(self._kept) > self._bound:
            self._kept.popitem(last=False)
        spans = zip(
            ("old", "hours", "minutes"), (HOUR, HOUR, MINUTE), pairwise(limits), revisions, strict=True
        )
        async with query_group() as group:
            parts = [
                group.create_task(self._settled(kept, name, of, level, replicas, (*span, revision)))
                for name, level, span, revision in spans
            ]
            parts.append(
                group.create_task(self._read(of, TEN_SECONDS, replicas, limits.minutes_to_s, _FOREVER))
            )
        found = [part.result() for part in parts]
        nothing = Durations()
        return {
            replica: ReplicaHistograms(
                limits.start_s,
                {phase: merge(part.get((replica, phase), nothing) for part in found) for phase in PHASES},
            )
            for replica in replicas
        }

    async def _settled(
        self,
        kept: dict[str, _Settled],
        name: str,
        of: Mapping[str, str],
        level: RollupLevel,
        replicas: Sequence[str],
        key: tuple[int, int, object],
    ) -> _Found:
        settled = kept.get(name)
        if settled is None or settled.key != key:
            settled = _Settled(key)
        new = [replica for replica in replicas if replica not in settled.replicas]
        if new:
            settled.found.update(await self._read(of, level, new, key[0], key[1]))
            settled.replicas.update(new)
            kept[name] = settled
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
        (replica, phase): Durations(array("H", buckets), array("Q", requests), sum_of[replica][phase])
        for replica, phase, buckets, requests in counts
        if replica in sum_of
    }


def _counts_sql(level: RollupLevel) -> str:
    return "UNION ALL".join(
        _COUNTS.format(phase=phase, table=level.requests, where=_OF_THE_REPLICAS) for phase in PHASES
    )


def _sums_sql(level: RollupLevel) -> str:
    return _SUMS.format(table=level.requests, where=_OF_THE_REPLICAS)
