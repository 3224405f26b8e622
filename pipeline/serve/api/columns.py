"""From steps to series: one column of values for each line of a graph. Pure.

A step without data is None in every series: a gap. A step with data but without requests counts 0 and has no
quantiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from endpoint_analytics.pipeline.serve.api.models import Group, Series, Unit
from endpoint_analytics.pipeline.store.series import QUANTILES, RequestStep, SampleSeries
from endpoint_analytics.pipeline.store.series_replicas import Replicas
from endpoint_analytics.pipeline.store.series_states import RunningCount
from endpoint_analytics.schemas import metrics as names
from endpoint_analytics.schemas.identity import UNASSIGNED
from endpoint_analytics.schemas.metrics import ENGINE_METRICS, HARDWARE_METRICS

CLASSES = (1, 2, 3, 4, 5)
WINDOW_S = 10
_UNITS: dict[str, Unit] = {
    "percent": "percent",
    "bytes": "bytes",
    "watts": "watts",
    "celsius": "celsius",
    "seconds": "seconds",
    "requests": "requests",
    "requests_per_second": "requests_per_second",
    "tokens_per_second": "tokens_per_second",
}
# Counted since the previous sample: their sum over a time range is the total in it.
DELTAS = frozenset(
    metric.name
    for metric in (
        names.NETWORK_RECEIVED_BYTES,
        names.NETWORK_SENT_BYTES,
        names.DISK_READ_BYTES,
        names.DISK_WRITTEN_BYTES,
    )
)
_UNIT_OF: dict[str, Unit] = {
    metric.name: "bytes_per_second" if metric.name in DELTAS else _UNITS.get(metric.unit, "other")
    for metric in HARDWARE_METRICS
} | {metric.name: _UNITS.get(metric.unit, "other") for metric in ENGINE_METRICS}

Steps = Mapping[int, RequestStep]
Number = float | int | None


def request_series(at: Sequence[int], steps: Steps, by_status: bool) -> list[Series]:
    """Return requests by status class, or by each status that was sent, and the aborted ones."""
    if by_status:
        statuses = sorted({status for step in steps.values() for status in step.status})
        found = [
            _column("requests", str(status), "requests", at, steps, partial(of_status, status=status))
            for status in statuses
        ]
    else:
        found = [
            _column("requests", f"{each}xx", "requests", at, steps, partial(of_class, first_digit=each))
            for each in CLASSES
        ]
    return [*found, _column("requests", "aborted", "requests", at, steps, aborted)]


def of_status(step: RequestStep, status: int) -> int:
    """Return the number of requests with this status."""
    return step.status.get(status, 0)


def of_class(step: RequestStep, first_digit: int) -> int:
    """Return the number of requests of a status class."""
    return sum(count for status, count in step.status.items() if status // 100 == first_digit)


def aborted(step: RequestStep) -> int:
    """Return the number of requests that ended before their last byte."""
    return step.aborted_pending + step.aborted_streaming


def pending_series(at: Sequence[int], steps: Steps) -> list[Series]:
    """Return the levels: time-weighted mean, maximum and last value, and the oldest pending request's age."""

    def mean(request_us: Callable[[RequestStep], int]) -> Callable[[RequestStep], Number]:
        return lambda step: request_us(step) / step.covered_us if step.covered_us else None

    columns: tuple[tuple[str, Unit, Callable[[RequestStep], Number]], ...] = (
        ("pending_mean", "requests", mean(lambda step: step.pending_request_us)),
        ("pending_max", "requests", lambda step: step.pending_max),
        ("pending_last", "requests", lambda step: step.pending_last),
        ("streaming_mean", "requests", mean(lambda step: step.streaming_request_us)),
        ("streaming_max", "requests", lambda step: step.streaming_max),
        ("streaming_last", "requests", lambda step: step.streaming_last),
        ("active_mean", "requests", mean(lambda step: step.pending_request_us + step.streaming_request_us)),
        ("active_max", "requests", lambda step: step.active_max),
        ("active_last", "requests", lambda step: step.pending_last + step.streaming_last),
        ("oldest_pending", "seconds", lambda step: step.oldest_pending_us / 1e6),
    )
    return [_column("pending", name, unit, at, steps, value) for name, unit, value in columns]


def distribution_series(
    group: Group, at: Sequence[int], steps: Steps, quantiles: Mapping[int, tuple[float, ...]]
) -> list[Series]:
    """Return the quantiles, mean, maximum and count of the latency or the time to first byte."""
    found = [
        Series(
            group,
            f"p{round(q * 100)}",
            "seconds",
            [quantiles[moment][index] if moment in quantiles else None for moment in at],
        )
        for index, q in enumerate(QUANTILES)
    ]

    def count(step: RequestStep) -> int:
        return step.latency_count if group == "latency" else step.ttfb_count

    def mean(step: RequestStep) -> Number:
        total_us = step.latency_sum_us if group == "latency" else step.ttfb_sum_us
        return total_us / count(step) / 1e6 if count(step) else None

    def greatest(step: RequestStep) -> Number:
        most_us = step.latency_max_us if group == "latency" else step.ttfb_max_us
        return most_us / 1e6 if count(step) else None

    return [
        *found,
        _column(group, "mean", "seconds", at, steps, mean),
        _column(group, "max", "seconds", at, steps, greatest),
        _column(group, "count", "requests", at, steps, count),
    ]


def replica_series(
    at: Sequence[int], step_s: int, replicas: Replicas, replica: str, now_s: float
) -> list[Series]:
    """Return the running replicas at the end of each step, or now, with the scaling settings at that time.

    There is a gap before the first report of any replica, while the pipeline is late, and in the future.
    """
    chosen = [each for each in replicas.replicas if replica in ("", each.replica)]
    running = RunningCount(span for each in chosen for span in each.spans)
    first_s = min(
        (each.first_s for each in chosen if each.first_s is not None and each.replica != UNASSIGNED),
        default=now_s,
    )
    known_to_s = now_s if replicas.unknown_since_s is None else replicas.unknown_since_s
    ends = [min(moment + step_s, now_s) - 1e-6 if moment < now_s else None for moment in at]
    in_force = [None if end is None else replicas.in_force(end) for end in ends]

    def column(name: str, values: list[float | int | None]) -> Series:
        return Series("replicas", name, "replicas", values)

    return [
        column(
            "running",
            [None if end is None or not first_s <= end < known_to_s else running.at(end) for end in ends],
        ),
        column("min_replicas", [None if each is None else each.min_replicas for each in in_force]),
        column("max_replicas", [None if each is None else each.max_replicas for each in in_force]),
    ]


def unit_of(metric: str) -> Unit:
    """Return the unit of a metric. For a serving engine's unlisted metric, it is taken from the name's suffix."""
    known = _UNIT_OF.get(metric)
    if known is not None:
        return known
    return next((unit for suffix, unit in _UNITS.items() if metric.endswith(f"_{suffix}")), "other")


def sample_series(
    group: Group, at: Sequence[int], found: Sequence[SampleSeries], details: bool
) -> list[Series]:
    """Return the mean of each step, for hardware or serving engines. Byte counts become bytes/s per replica."""
    series = []
    for each in found:
        is_delta = each.metric in DELTAS
        values: list[float | int | None] = []
        for moment in at:
            samples, total, windows = each.steps.get(moment, (0, 0.0, 0))
            divisor = windows * WINDOW_S if is_delta else samples
            values.append(total / divisor if divisor else None)
        source = {"replica": each.replica, "device": each.device} if details else {}
        series.append(Series(group, each.metric, unit_of(each.metric), values, **source))

    return series


def _column(
    group: Group,
    name: str,
    unit: Unit,
    at: Sequence[int],
    steps: Steps,
    value: Callable[[RequestStep], Number],
) -> Series:
    return Series(group, name, unit, [value(steps[moment]) if moment in steps else None for moment in at])
