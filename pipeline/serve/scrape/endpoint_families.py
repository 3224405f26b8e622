"""Endpoints' numbers as metric families: which families, labels and order. Pure.

All names come from schemas.metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from endpoint_analytics.pipeline.core.sketch import buckets_of
from endpoint_analytics.pipeline.exposition.families import (
    Histogram,
    Labels,
    MetricFamily,
    NativeBuckets,
    Sample,
    family_of,
)
from endpoint_analytics.pipeline.serve.scrape.selection import ALL, Selection
from endpoint_analytics.pipeline.store.durations import BUCKET, Phase, ReplicaHistograms
from endpoint_analytics.pipeline.store.endpoint_numbers import (
    DurationSummary,
    EndpointMetrics,
    ReplicaMetrics,
)
from endpoint_analytics.schemas import metrics as names
from endpoint_analytics.schemas.replicas import STATES
from endpoint_analytics.schemas.sketch_buckets import OFFSET, SCHEMA

HISTOGRAM_BOUNDS_S = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
"""Upper bounds of the classic buckets: those of OpenTelemetry's http.server.request.duration, and up to the minutes
that language models take."""
MAX_KNOWN_STATUSES = 20
"""The most frequent ones of the endpoint: servers may send any number from 100 to 599."""
USUAL_STATUSES = frozenset({200, 500})
USUAL_DROP_REASONS = frozenset({"buffer_full", "missing"})
"""Statuses and reasons that every replica has a series for."""

# For each bound, the sketch's bucket that contains it: what it holds is counted as up to the bound.
_BUCKETS_OF_BOUNDS = buckets_of(np.array([round(bound * 1e6) for bound in HISTOGRAM_BOUNDS_S]))
SUMMARIES = (names.LATENCY.name, names.TIME_TO_FIRST_BYTE.name)
HISTOGRAMS = (names.LATENCY_SECONDS.name, names.TIME_TO_FIRST_BYTE_SECONDS.name)
_REQUESTS = tuple(
    family.name
    for family in (
        names.HTTP_REQUESTS,
        names.ABORTED_REQUESTS,
        names.DROPPED_REQUESTS,
        names.PENDING_REQUESTS,
        names.STREAMING_REQUESTS,
        names.ACTIVE_REQUESTS,
        names.OLDEST_PENDING,
    )
)
HARDWARE = tuple(metric.family for metric in names.HARDWARE_METRICS if metric.family)
OTHERS = (
    *_REQUESTS,
    *(
        family.name
        for family in (
            names.MISSING_BATCHES,
            names.CONFLICTING_BATCHES,
            names.COPIED_BOOTS,
            names.REPLICA_STATE,
            names.RUNNING_REPLICAS,
            names.UNKNOWN_REPLICAS,
            names.MIN_REPLICAS,
            names.MAX_REPLICAS,
            names.DATA_TIMESTAMP,
        )
    ),
)
"""Names of families, by what is read for them; those of engines are not known beforehand."""

T = TypeVar("T", int, str)
_ZERO = np.zeros(1, dtype=np.int64)
_MORE_THAN_BUCKETS = np.iinfo(BUCKET).max + 1
_HARDWARE = {
    metric.name: "_total" if metric.counter else "" for metric in names.HARDWARE_METRICS if metric.family
}
"""The suffix of each metric's samples."""
_OF_STATE = {state: ((names.REPLICA_STATE.name, state),) for state in STATES}


def endpoint_families(
    metrics: EndpointMetrics,
    histograms: Mapping[str, ReplicaHistograms] = MappingProxyType({}),
    *,
    of: Labels = (),
    selection: Selection = ALL,
) -> tuple[MetricFamily, ...]:
    """Return the selected families that have samples, always in the same order; `histograms` by replica.

    All samples have the labels `of`. An unknown value has no sample, and a family without samples is left out. A
    summary always has a count and a sum.
    """
    replicas = [
        _Labelled((*of, ("replica_id", replica.replica_id)), replica)
        for replica in metrics.replicas
        if selection.has_replica(replica.replica_id)
    ]

    def chosen(
        family: names.Family, samples: Iterable[Sample] = (), histograms: Iterable[Histogram] = ()
    ) -> MetricFamily:
        """Return the family; without its samples, which are then never made, if it is not asked for."""
        return (
            family_of(family, samples, histograms) if selection.has_family(family.name) else family_of(family)
        )

    known_statuses = _known_statuses(metrics.status_counts)
    drop_reasons = USUAL_DROP_REASONS.union(metrics.drop_reasons)
    families = (
        chosen(names.LATENCY, _summary(of, metrics.latency)),
        chosen(names.TIME_TO_FIRST_BYTE, _summary(of, metrics.time_to_first_byte)),
        chosen(names.LATENCY_SECONDS, histograms=_histograms(replicas, histograms, "latency")),
        chosen(names.TIME_TO_FIRST_BYTE_SECONDS, histograms=_histograms(replicas, histograms, "ttfb")),
        *(_requests(replicas, known_statuses, drop_reasons) if selection.has_any_family(_REQUESTS) else ()),
        chosen(names.MISSING_BATCHES, _by_stream(replicas, "", attrgetter("missing_batches"))),
        chosen(names.CONFLICTING_BATCHES, _by_stream(replicas, "_total", attrgetter("conflicting_batches"))),
        chosen(names.COPIED_BOOTS, _by_stream(replicas, "", attrgetter("copied_boots"))),
        *_hardware(replicas),
        *_engine(replicas),
        chosen(names.REPLICA_STATE, _states(replicas)),
        chosen(names.RUNNING_REPLICAS, _known(of, metrics.running_replicas)),
        chosen(names.UNKNOWN_REPLICAS, _known(of, _unknown(metrics.replicas))),
        chosen(names.MIN_REPLICAS, _known(of, metrics.min_replicas)),
        chosen(names.MAX_REPLICAS, _known(of, metrics.max_replicas)),
        chosen(
            names.DATA_TIMESTAMP,
            _known(of, None if metrics.data_at is None else metrics.data_at.timestamp()),
        ),
    )
    return tuple(
        family
        for family in families
        if (family.samples or family.histograms) and selection.has_family(family.name)
    )


@lru_cache(maxsize=10_000)
def _own(name: str, value: str) -> Labels:
    """Return a sample's own label, the same object for all replicas."""
    return ((name, value),)


@dataclass(frozen=True, slots=True)
class _Labelled:
    """A replica and its labels."""

    labels: Labels
    metrics: ReplicaMetrics


def _known(of: Labels, value: float | None) -> tuple[Sample, ...]:
    return () if value is None else (Sample("", of, value),)


def _unknown(replicas: Sequence[ReplicaMetrics]) -> int:
    return sum(replica.state == "unknown" for replica in replicas)


def _summary(of: Labels, summary: DurationSummary) -> tuple[Sample, ...]:
    lines = [Sample("", of, seconds, None, _own("quantile", str(q))) for q, seconds in summary.quantiles_s]
    first_s = None if summary.first_at is None else summary.first_at.timestamp()
    return (
        *lines,
        Sample("_count", of, summary.count, first_s),
        Sample("_sum", of, summary.sum_us / 1e6),
    )


def _requests(
    replicas: Sequence[_Labelled], known_statuses: frozenset[int], drop_reasons: frozenset[str]
) -> Iterable[MetricFamily]:
    statuses: list[Sample] = []
    aborted: list[Sample] = []
    dropped: list[Sample] = []
    levels: dict[names.Family, list[Sample]] = {
        names.PENDING_REQUESTS: [],
        names.STREAMING_REQUESTS: [],
        names.ACTIVE_REQUESTS: [],
        names.OLDEST_PENDING: [],
    }
    of_statuses, of_reasons = _owns("status_code", known_statuses), _owns("reason", drop_reasons)
    for replica in replicas:
        requests, labels = replica.metrics.requests, replica.labels
        if requests is None:
            continue
        first_s = requests.first_at.timestamp()
        statuses += _counters(labels, first_s, "status_code", of_statuses, dict(requests.status_counts))
        for stage, count in (
            ("pending", requests.aborted_pending),
            ("streaming", requests.aborted_streaming),
        ):
            aborted.append(Sample("_total", labels, count, first_s, _own("stage", stage)))
        dropped += _counters(labels, first_s, "reason", of_reasons, dict(requests.dropped))
        if (found := requests.levels) is not None:
            levels[names.PENDING_REQUESTS].append(Sample("", labels, found.pending))
            levels[names.STREAMING_REQUESTS].append(Sample("", labels, found.streaming))
            levels[names.ACTIVE_REQUESTS].append(Sample("", labels, found.pending + found.streaming))
            levels[names.OLDEST_PENDING].append(Sample("", labels, found.oldest_pending_us / 1e6))
    yield family_of(names.HTTP_REQUESTS, statuses)
    yield family_of(names.ABORTED_REQUESTS, aborted)
    yield family_of(names.DROPPED_REQUESTS, dropped)
    for family, samples in levels.items():
        yield family_of(family, samples)


def _counters(
    labels: Labels, first_s: float, name: str, known: Mapping[T, Labels], counts: Mapping[T, int]
) -> list[Sample]:
    """Return the samples of all known values of the label `name`, and of others that were counted."""
    if not counts.keys() <= known.keys():
        known = _owns(name, known.keys() | counts.keys())
    return [Sample("_total", labels, counts.get(value, 0), first_s, own) for value, own in known.items()]


def _owns(name: str, values: Iterable[T]) -> dict[T, Labels]:
    """Return the labels of all values, in their order."""
    return {value: _own(name, str(value)) for value in sorted(values)}


def _known_statuses(status_counts: Sequence[tuple[int, int]]) -> frozenset[int]:
    """Return the statuses that each replica has a series for, at 0 before the first: a series' first value is lost to
    whoever asks for its increase. The same goes for the reasons of drops.
    """
    frequent = sorted(status_counts, key=lambda each: -each[1])[:MAX_KNOWN_STATUSES]
    return USUAL_STATUSES | {status for status, _ in frequent}


def _histograms(
    replicas: Sequence[_Labelled], found: Mapping[str, ReplicaHistograms], phase: Phase
) -> Iterable[Histogram]:
    """Yield the histograms of replicas that have one; those of all are computed at once, one behind the other."""
    shown = [
        (
            replica.labels,
            max(requests.first_at.timestamp(), histograms.created_s),
            histograms.durations[phase],
        )
        for replica in replicas
        if (requests := replica.metrics.requests) is not None
        and (histograms := found.get(replica.metrics.replica_id)) is not None
    ]
    if not shown:
        return
    sizes = np.array([durations.buckets.size for _, _, durations in shown])
    buckets = np.concatenate([durations.buckets for _, _, durations in shown]).astype(np.int64)
    counts = np.concatenate([durations.counts for _, _, durations in shown]).astype(np.int64)
    ends = np.cumsum(sizes)
    below = np.concatenate((_ZERO, np.cumsum(counts)))  # the counts of all before
    first = np.arange(len(shown)) * _MORE_THAN_BUCKETS
    places = np.searchsorted(
        buckets + np.repeat(first, sizes), first[:, np.newaxis] + _BUCKETS_OF_BOUNDS, "right"
    )
    begins = ends - sizes
    cumulative = (below[places] - below[begins][:, np.newaxis]).tolist()
    totals = (below[ends] - below[begins]).tolist()
    indexes = buckets - OFFSET
    for (labels, created_s, durations), begin, end, up_to, total in zip(
        shown, begins.tolist(), ends.tolist(), cumulative, totals, strict=True
    ):
        zeros = int(
            end > begin and indexes[begin] == -OFFSET
        )  # buckets that hold zeros: the first one, or none
        yield Histogram(
            labels=labels,
            bounds=HISTOGRAM_BOUNDS_S,
            cumulative=up_to,
            native=NativeBuckets(
                SCHEMA,
                indexes[begin + zeros : end],
                counts[begin + zeros : end],
                int(counts[begin]) if zeros else 0,
            ),
            count=total,
            sum=durations.sum_us / 1e6,
            created_s=created_s,
        )


def _by_stream(
    replicas: Sequence[_Labelled],
    suffix: str,
    counts: Callable[[ReplicaMetrics], tuple[tuple[str, int], ...]],
) -> Iterable[Sample]:
    for replica in replicas:
        for stream, count in counts(replica.metrics):
            yield Sample(suffix, replica.labels, count, None, _own("stream", stream))


def _hardware(replicas: Sequence[_Labelled]) -> Iterable[MetricFamily]:
    samples: dict[str, list[Sample]] = {name: [] for name in _HARDWARE}
    for replica in replicas:
        for name, device, value in replica.metrics.hardware:
            own = _own("gpu", device) if device else ()
            samples[name].append(Sample(_HARDWARE[name], replica.labels, value, None, own))
    for metric in names.HARDWARE_METRICS:
        if metric.family and metric.counter:
            yield MetricFamily(metric.family, "counter", metric.help, "", tuple(samples[metric.name]))
        elif metric.family:
            yield MetricFamily(metric.family, "gauge", metric.help, metric.unit, tuple(samples[metric.name]))


def _engine(replicas: Sequence[_Labelled]) -> Iterable[MetricFamily]:
    """Yield the standard metrics, then, by name, the additional ones that agents are configured to send."""
    samples: dict[str, list[Sample]] = {}
    for replica in replicas:
        for sample in replica.metrics.engine:
            samples.setdefault(sample.metric, []).append(Sample("", replica.labels, sample.value))
    for metric in names.ENGINE_METRICS:
        if metric.name in samples:
            yield MetricFamily(
                metric.name, "gauge", metric.help, metric.unit, tuple(samples.pop(metric.name))
            )
    for name in sorted(samples):
        yield MetricFamily(
            name,
            "gauge",
            "Metric of the serving engine that its agent is configured to send",
            "",
            tuple(samples[name]),
        )


def _states(replicas: Sequence[_Labelled]) -> Iterable[Sample]:
    for replica in replicas:
        current = replica.metrics.state
        if current not in (None, "unknown"):
            for state, own in _OF_STATE.items():
                yield Sample("", replica.labels, int(state == current), None, own)
