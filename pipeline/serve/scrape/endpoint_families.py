"""An endpoint's numbers as metric families: which families, labels and order. Pure.

All names come from schemas.metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from endpoint_analytics.pipeline.exposition.families import Labels, MetricFamily, Sample, family_of
from endpoint_analytics.pipeline.store.endpoint_numbers import (
    DurationSummary,
    EndpointMetrics,
    ReplicaMetrics,
)
from endpoint_analytics.schemas import metrics as names
from endpoint_analytics.schemas.replicas import STATES


def endpoint_families(metrics: EndpointMetrics) -> tuple[MetricFamily, ...]:
    """Return all families that have samples, always in the same order.

    An unknown value has no sample, and a family without samples is left out. A summary always has a count and a sum.
    """
    families = (
        family_of(names.LATENCY, _summary(metrics.latency)),
        family_of(names.TIME_TO_FIRST_BYTE, _summary(metrics.time_to_first_byte)),
        *_requests(metrics.replicas),
        family_of(names.MISSING_BATCHES, _by_stream(metrics.replicas, "", attrgetter("missing_batches"))),
        family_of(
            names.CONFLICTING_BATCHES,
            _by_stream(metrics.replicas, "_total", attrgetter("conflicting_batches")),
        ),
        family_of(names.COPIED_BOOTS, _by_stream(metrics.replicas, "", attrgetter("copied_boots"))),
        *_hardware(metrics.replicas),
        *_engine(metrics.replicas),
        family_of(names.REPLICA_STATE, _states(metrics.replicas)),
        family_of(names.RUNNING_REPLICAS, _known(metrics.running_replicas)),
        family_of(names.UNKNOWN_REPLICAS, (Sample("", (), _unknown(metrics.replicas)),)),
        family_of(names.MIN_REPLICAS, _known(metrics.min_replicas)),
        family_of(names.MAX_REPLICAS, _known(metrics.max_replicas)),
        family_of(
            names.DATA_TIMESTAMP,
            () if metrics.data_at is None else (Sample("", (), metrics.data_at.timestamp()),),
        ),
    )
    return tuple(family for family in families if family.samples)


def _known(value: int | None) -> tuple[Sample, ...]:
    return () if value is None else (Sample("", (), value),)


def _unknown(replicas: Sequence[ReplicaMetrics]) -> int:
    return sum(replica.state == "unknown" for replica in replicas)


def _summary(summary: DurationSummary) -> tuple[Sample, ...]:
    lines = [Sample("", (("quantile", str(q)),), seconds) for q, seconds in summary.quantiles_s]
    return (*lines, Sample("_count", (), summary.count), Sample("_sum", (), summary.sum_us / 1e6))


def _requests(replicas: Sequence[ReplicaMetrics]) -> Iterable[MetricFamily]:
    statuses, aborted, dropped = [], [], []
    levels: dict[names.Family, list[Sample]] = {
        names.PENDING_REQUESTS: [],
        names.STREAMING_REQUESTS: [],
        names.ACTIVE_REQUESTS: [],
        names.OLDEST_PENDING: [],
    }
    for replica in replicas:
        requests = replica.requests
        if requests is None:
            continue
        of_replica = ("replica_id", replica.replica_id)
        for status, count in requests.status_counts:
            statuses.append(Sample("_total", (of_replica, ("status_code", str(status))), count))
        for stage, count in (
            ("pending", requests.aborted_pending),
            ("streaming", requests.aborted_streaming),
        ):
            aborted.append(Sample("_total", (of_replica, ("stage", stage)), count))
        for reason, count in requests.dropped:
            dropped.append(Sample("_total", (of_replica, ("reason", reason)), count))
        labels: Labels = (of_replica,)
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


def _by_stream(
    replicas: Sequence[ReplicaMetrics],
    suffix: str,
    counts: Callable[[ReplicaMetrics], tuple[tuple[str, int], ...]],
) -> Iterable[Sample]:
    for replica in replicas:
        for stream, count in counts(replica):
            yield Sample(suffix, (("replica_id", replica.replica_id), ("stream", stream)), count)


def _hardware(replicas: Sequence[ReplicaMetrics]) -> Iterable[MetricFamily]:
    samples: dict[str, list[Sample]] = {metric.name: [] for metric in names.HARDWARE_METRICS if metric.family}
    for replica in replicas:
        for sample in replica.hardware:
            labels: Labels = (("replica_id", replica.replica_id),)
            if sample.device:
                labels = (*labels, ("gpu", sample.device))
            samples[sample.metric].append(Sample("", labels, sample.value))
    for metric in names.HARDWARE_METRICS:
        if metric.family and metric.counter:
            counted = (Sample("_total", each.labels, each.value) for each in samples[metric.name])
            yield MetricFamily(metric.family, "counter", metric.help, "", tuple(counted))
        elif metric.family:
            yield MetricFamily(metric.family, "gauge", metric.help, metric.unit, tuple(samples[metric.name]))


def _engine(replicas: Sequence[ReplicaMetrics]) -> Iterable[MetricFamily]:
    """Yield the standard metrics, then, by name, the additional ones that agents are configured to send."""
    samples: dict[str, list[Sample]] = {}
    for replica in replicas:
        for sample in replica.engine:
            label = ("replica_id", replica.replica_id)
            samples.setdefault(sample.metric, []).append(Sample("", (label,), sample.value))
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


def _states(replicas: Sequence[ReplicaMetrics]) -> Iterable[Sample]:
    for replica in replicas:
        if replica.state not in (None, "unknown"):
            for state in STATES:
                labels = (("replica_id", replica.replica_id), (names.REPLICA_STATE.name, state))
                yield Sample("", labels, int(state == replica.state))
