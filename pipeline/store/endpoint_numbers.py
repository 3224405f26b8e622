"""One endpoint's numbers, and how they follow from the rows of the six queries. Pure: no SQL, no clock.

A row is a sequence in the order of its query's columns in `endpoint_metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from endpoint_analytics.pipeline.core.sketch import quantiles
from endpoint_analytics.pipeline.store.presence import LastHeard, Presence, is_present, shown_state
from endpoint_analytics.schemas.replicas import State

QUANTILES = (0.5, 0.9, 0.95, 0.99)

Row = Sequence[Any]
Sketch = tuple[list[int], list[int]]


class BootsRow(NamedTuple):
    """A row of BOOTS: a replica's boots together, or with an empty replica_id the whole endpoint's."""

    replica_id: str
    boots: int
    newest_append: datetime
    newest_at: datetime
    hardware_append: datetime
    hardware_at: datetime
    engine_append: datetime
    engine_at: datetime
    request_boots: int
    status: tuple[Sequence[int], Sequence[int]]
    dropped: tuple[Sequence[str], Sequence[int]]
    aborted_pending: int
    aborted_streaming: int
    pending: int
    streaming: int
    oldest_pending_us: int
    finished: int
    latency_sum_us: int
    ttfb_count: int
    ttfb_sum_us: int


class EventsRow(NamedTuple):
    """A row of EVENTS: a replica's last state, or with an empty replica_id how many events there are."""

    replica_id: str
    events: int
    state: State
    at: datetime


@dataclass(frozen=True, slots=True)
class NewestSample:
    """The newest sample of a metric; `device` is empty for the replica itself."""

    metric: str
    device: str
    value: float


@dataclass(frozen=True, slots=True)
class RequestTotals:
    """A replica's requests: cumulative since it was first seen, and the levels of its living processes."""

    status_counts: tuple[tuple[int, int], ...]
    aborted_pending: int
    aborted_streaming: int
    dropped: tuple[tuple[str, int], ...]
    pending: int
    streaming: int
    oldest_pending_us: int


@dataclass(frozen=True, slots=True)
class ReplicaMetrics:
    """A present replica; `requests` is None when no agent ever told of its requests."""

    replica_id: str
    state: State | None
    requests: RequestTotals | None
    hardware: tuple[NewestSample, ...]
    engine: tuple[NewestSample, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """Quantiles in seconds of the last minutes (NaN without events), count and sum of all time."""

    quantiles_s: tuple[tuple[float, float], ...]
    count: int
    sum_us: int


@dataclass(frozen=True, slots=True)
class EndpointMetrics:
    """All that one scrape shows. Settings are None when never told, `data_at` when no agent ever spoke."""

    replicas: tuple[ReplicaMetrics, ...]
    latency: Summary
    time_to_first_byte: Summary
    running_replicas: int
    min_replicas: int | None
    max_replicas: int | None
    data_at: datetime | None


def parse_endpoint_metrics(
    boots: Iterable[Row],
    events: Iterable[Row],
    current: Sequence[Row],
    sketches: Sequence[Row],
    hardware: Iterable[Row],
    engine: Iterable[Row],
    now: datetime,
    presence: Presence,
) -> EndpointMetrics | None:
    """Put the six answers together; None when nothing was ever heard of the endpoint."""
    boots_of = {row.replica_id: row for row in map(BootsRow._make, boots) if row.boots}
    events_of = {row.replica_id: row for row in map(EventsRow._make, events) if row.events}
    told, in_force, least, most = current[0] if current else (0, 0, 0, 0)
    if not boots_of and not events_of and not told:
        return None
    whole, _ = boots_of.pop("", None), events_of.pop("", None)
    hardware_of = _current_samples(
        hardware,
        {name: (boot.hardware_append, boot.hardware_at) for name, boot in boots_of.items()},
        now,
        presence,
    )
    engine_of = _current_samples(
        engine, {name: (boot.engine_append, boot.engine_at) for name, boot in boots_of.items()}, now, presence
    )
    replicas = []
    for replica_id in sorted(boots_of.keys() | events_of.keys()):
        boot, event = boots_of.get(replica_id), events_of.get(replica_id)
        heard = LastHeard(
            append_at=None if boot is None else boot.newest_append,
            state=None if event is None else event.state,
            state_at=None if event is None else event.at,
        )
        if is_present(heard, presence, now):
            state = shown_state(replica_id, heard, presence, now)
            requests = None if boot is None or not boot.request_boots else _request_totals(boot)
            replicas.append(
                ReplicaMetrics(
                    replica_id,
                    state,
                    requests,
                    hardware_of.get(replica_id, ()),
                    engine_of.get(replica_id, ()),
                )
            )
    latency, ttfb = _sketch(sketches, "latency"), _sketch(sketches, "ttfb")
    return EndpointMetrics(
        replicas=tuple(replicas),
        latency=_summary(latency, whole.finished if whole else 0, whole.latency_sum_us if whole else 0),
        time_to_first_byte=_summary(
            ttfb, whole.ttfb_count if whole else 0, whole.ttfb_sum_us if whole else 0
        ),
        running_replicas=sum(replica.state == "running" for replica in replicas),
        min_replicas=least if in_force else None,
        max_replicas=most if in_force else None,
        data_at=whole.newest_at if whole else None,
    )


def _request_totals(boot: BootsRow) -> RequestTotals:
    return RequestTotals(
        status_counts=tuple(zip(*boot.status, strict=True)),
        aborted_pending=boot.aborted_pending,
        aborted_streaming=boot.aborted_streaming,
        dropped=tuple(zip(*boot.dropped, strict=True)),
        pending=boot.pending,
        streaming=boot.streaming,
        oldest_pending_us=boot.oldest_pending_us,
    )


def _sketch(rows: Iterable[Row], which: str) -> Sketch:
    """Return buckets, ascending, and counts of one of the two sketches in the rows of SKETCHES."""
    found = sorted((bucket, count) for name, bucket, count in rows if name == which)
    return [bucket for bucket, _ in found], [count for _, count in found]


def _summary(sketch: Sketch, count: int, sum_us: int) -> Summary:
    seconds = (quantile_us / 1e6 for quantile_us in quantiles(*sketch, QUANTILES))
    return Summary(tuple(zip(QUANTILES, seconds, strict=True)), count, sum_us)


def _current_samples(
    rows: Iterable[Row], heard_of: Mapping[str, tuple[datetime, datetime]], now: datetime, presence: Presence
) -> dict[str, tuple[NewestSample, ...]]:
    """Return the samples that are current: of a living agent, and not older than what it last told.

    `heard_of` has for each replica when the broker took the newest batch of samples, and its end.
    """
    samples: dict[str, list[NewestSample]] = {}
    for replica_id, metric, device, value, at in rows:
        heard = heard_of.get(replica_id)
        if heard is None or heard[0] < now - presence.heartbeat:
            continue
        if at >= heard[1] - presence.heartbeat:
            samples.setdefault(replica_id, []).append(NewestSample(metric, device, value))
    return {replica_id: tuple(found) for replica_id, found in samples.items()}
