"""Reads series: one query, its rows as numbers on the grid of steps. How they are presented is decided elsewhere.

A step without a row is None in every column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from endpoint_analytics.pipeline.core.sketch import value_of
from endpoint_analytics.pipeline.core.windows import ADDED
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.rollup_levels import HOUR, RollupProgress
from endpoint_analytics.pipeline.store.series_columns import COUNTS, GREATEST, LASTS, PEAKS
from endpoint_analytics.pipeline.store.series_plan import Steps, TimeRanges, time_ranges
from endpoint_analytics.pipeline.store.series_sql import (
    QUANTILES,
    Phase,
    SampleKind,
    parts_of,
    requests_sql,
    samples_sql,
    sketch_sql,
    time_range_parameters,
)

MAX_SAMPLE_SERIES = 4000
Quantiles = dict[int, tuple[float, ...]]
"""QUANTILES in seconds, by the start of the step; steps without requests have none."""
WHOLE = 0
"""Stands for the start of the whole range, among those of its steps."""


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """Whose figures to read, from which stored windows, in which steps; an empty replica means all."""

    namespace: str
    endpoint: str
    replica: str
    origin_s: int
    step_s: int
    read: TimeRanges

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the queries."""
        return {
            "namespace": self.namespace,
            "endpoint": self.endpoint,
            "replica": self.replica,
            "origin": self.origin_s,
            "step": self.step_s,
            **time_range_parameters(self.read),
        }


@dataclass(frozen=True, slots=True)
class RequestStep:
    """The requests of one step; times in microseconds."""

    arrived: int
    finished: int
    aborted_pending: int
    aborted_streaming: int
    pending_request_us: int
    streaming_request_us: int
    latency_count: int
    latency_sum_us: int
    ttfb_count: int
    ttfb_sum_us: int
    pending_max: int
    streaming_max: int
    active_max: int
    pending_last: int
    streaming_last: int
    oldest_pending_us: int
    latency_max_us: int
    ttfb_max_us: int
    covered_us: int
    status: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class SampleSeries:
    """One metric of one device, or of several combined: by step, (samples, their sum, 10 s windows)."""

    replica: str
    device: str
    metric: str
    steps: Mapping[int, tuple[int, float, int]]


def query_of_steps(
    namespace: str, endpoint: str, replica: str, steps: Steps, since_s: int, progress: RollupProgress
) -> SeriesQuery:
    """Return the query for the steps from `since_s` on, which must be the start of a step."""
    read = time_ranges(since_s, steps.to_s, steps.level, progress)
    return SeriesQuery(namespace, endpoint, replica, steps.from_s, steps.step_s, read)


def query_of_range(
    namespace: str, endpoint: str, replica: str, from_s: int, to_s: int, progress: RollupProgress
) -> SeriesQuery:
    """Return the query for a whole range as one step; its inner part is read from the coarsest level."""
    read = time_ranges(from_s, to_s, HOUR, progress)
    return SeriesQuery(namespace, endpoint, replica, from_s, to_s - from_s, read)


async def read_requests(reader: Reader, query: SeriesQuery) -> dict[int, RequestStep]:
    """Return the requests of each step with data, by its start; raises StoreError."""
    return (await _requests(reader, query, False)).get(query.endpoint, {})


async def read_requests_of_all(reader: Reader, query: SeriesQuery) -> dict[str, dict[int, RequestStep]]:
    """Return the same for every endpoint of the namespace; raises StoreError."""
    return await _requests(reader, query, True)


async def _requests(reader: Reader, query: SeriesQuery, every: bool) -> dict[str, dict[int, RequestStep]]:
    parts = parts_of(query.read)
    rows = await reader.read(requests_sql(parts, every), query.parameters()) if parts else ()
    found: dict[str, dict[int, RequestStep]] = {}
    for endpoint, at, *values in rows:
        *counts, (codes, times) = values
        status = dict(zip(codes, times, strict=True))
        found.setdefault(endpoint, {})[int(at)] = RequestStep(
            **dict(zip(COUNTS, (*counts, status), strict=True))
        )
    return found


def combined(steps: Mapping[int, RequestStep]) -> RequestStep | None:
    """Return the requests of all steps as those of one, as the database combines windows; None without any."""
    if not steps:
        return None
    parts, newest = list(steps.values()), steps[max(steps)]
    status: Counter[int] = Counter()
    for part in parts:
        status.update(part.status)
    added = {name: sum(getattr(part, name) for part in parts) for name in (*ADDED, "covered_us")}
    greatest = {name: max(getattr(part, name) for part in parts) for name in (*PEAKS, *GREATEST)}
    lasts = {name: getattr(newest, name) for name in LASTS}
    return RequestStep(**added, **greatest, **lasts, status=status)


async def read_quantiles(
    reader: Reader, query: SeriesQuery, phases: Sequence[Phase], *, whole: bool = False
) -> dict[Phase, Quantiles]:
    """Return QUANTILES of the phases, and with `whole` those of all steps at WHOLE; raises StoreError."""
    found = await _quantiles(reader, query, phases, False, whole)
    return {phase: found[phase].get(query.endpoint, {}) for phase in phases}


async def read_quantiles_of_all(reader: Reader, query: SeriesQuery, phase: Phase) -> dict[str, Quantiles]:
    """Return QUANTILES of a phase for every endpoint of the namespace; raises StoreError."""
    return (await _quantiles(reader, query, (phase,), True, False))[phase]


async def _quantiles(
    reader: Reader, query: SeriesQuery, phases: Sequence[Phase], every: bool, whole: bool
) -> dict[Phase, dict[str, Quantiles]]:
    found: dict[Phase, dict[str, Quantiles]] = {phase: {} for phase in phases}
    parts = parts_of(query.read)
    if not parts or not phases:
        return found
    for endpoint, at, *sketches in await reader.read(
        sketch_sql(tuple(phases), parts, every, whole), query.parameters()
    ):
        for phase, buckets in zip(phases, sketches, strict=True):
            if buckets:
                values = tuple(value_of(int(bucket)) / 1e6 for bucket in buckets)
                found[phase].setdefault(endpoint, {})[int(at)] = values
    return found


async def read_samples(
    reader: Reader, query: SeriesQuery, kind: SampleKind, metrics: Sequence[str], details: bool
) -> list[SampleSeries]:
    """Return the series of the metrics (all if empty), by metric, replica and device; raises StoreError.

    Returns MAX_SAMPLE_SERIES + 1 series if there are more than MAX_SAMPLE_SERIES.
    """
    parts = parts_of(query.read)
    if not parts:
        return []
    parameters = {**query.parameters(), "metrics": list(metrics), "limit": MAX_SAMPLE_SERIES + 1}
    rows = await reader.read(samples_sql(kind, parts, details), parameters)
    return [
        SampleSeries(
            replica,
            device,
            metric,
            dict(zip(map(int, at), zip(samples, sums, windows, strict=True), strict=True)),
        )
        for replica, device, metric, at, samples, sums, windows in rows
    ]


__all__ = [
    "QUANTILES",
    "WHOLE",
    "Quantiles",
    "RequestStep",
    "SampleSeries",
    "SeriesQuery",
    "combined",
    "read_quantiles",
    "read_requests",
    "read_samples",
]
