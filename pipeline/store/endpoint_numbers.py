"""Endpoints' numbers, computed from the rows of six queries. Pure: no SQL, no clock.

A row is a sequence in the column order of its query in `endpoint_metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from endpoint_analytics.pipeline.core.sketch import quantiles
from endpoint_analytics.pipeline.store.loss_counts import count_losses
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.progress import StreamPartition
from endpoint_analytics.pipeline.store.read_model import (
    AgentReport,
    Moment,
    RequestLevels,
    RequestReport,
    StateReport,
)
from endpoint_analytics.pipeline.store.reader import Row
from endpoint_analytics.pipeline.store.scope import Key, by_endpoint
from endpoint_analytics.schemas.replicas import ShownState, State

QUANTILES = (0.5, 0.9, 0.95, 0.99)
_CLOCK_SKEW = timedelta(minutes=2)
_WINDOW = timedelta(seconds=10)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)

Sketch = tuple[list[int], list[int]]


class BootsRow(NamedTuple):
    """A row of BOOTS: all boots of a replica, or, with an empty replica_id, of the whole endpoint."""

    replica_id: str
    boots: int
    newest_append: datetime
    newest_partition: StreamPartition
    newest_at: datetime
    hardware_append: datetime
    hardware_at: datetime
    engine_append: datetime
    engine_at: datetime
    request_boots: int
    first_at: datetime
    requests_partition: int
    status: tuple[Sequence[int], Sequence[int]]
    dropped: tuple[Sequence[str], Sequence[int]]
    dropped_batches: tuple[Sequence[str], Sequence[int]]
    uncounted: int
    missing: int
    hardware_missing: int
    engine_missing: int
    outcome_boots: int
    outcome_missing: int
    aborted_pending: int
    aborted_streaming: int
    request_reports: Sequence[tuple[datetime, int, int, int, int]]
    finished: int
    latency_sum_us: int
    ttfb_count: int
    ttfb_sum_us: int
    copies: Mapping[str, int]
    conflicts: Mapping[str, int]

    @property
    def report(self) -> AgentReport:
        """Its newest message."""
        requests_partition = self.requests_partition if self.request_boots else None
        requests = tuple(map(RequestReport._make, self.request_reports))
        return AgentReport(self.newest_append, self.newest_partition, requests_partition, requests)


class EventsRow(NamedTuple):
    """A row of EVENTS: a replica's last state, or, with an empty replica_id, the number of events."""

    replica_id: str
    events: int
    state: State
    at: datetime
    partition: int

    @property
    def report(self) -> StateReport:
        """The state that it was last reported in."""
        return StateReport(self.state, self.at, self.partition)


class NewestSample(NamedTuple):
    """The newest sample of a metric; `device` is empty for the replica itself."""

    metric: str
    device: str
    value: float


@dataclass(frozen=True, slots=True)
class RequestTotals:
    """A replica's requests: cumulative since it was first seen, and the levels of its live processes.

    `levels` is None while they are unknown. `dropped` includes requests in batches that never arrived. `first_at` is
    when it was first seen; no request is from before.
    """

    first_at: datetime
    status_counts: tuple[tuple[int, int], ...]
    aborted_pending: int
    aborted_streaming: int
    dropped: tuple[tuple[str, int], ...]
    levels: RequestLevels | None


@dataclass(frozen=True, slots=True)
class ReplicaMetrics:
    """A present replica; `requests` is None if no agent ever reported its requests."""

    replica_id: str
    state: ShownState | None
    requests: RequestTotals | None
    hardware: tuple[NewestSample, ...]
    engine: tuple[NewestSample, ...] = ()
    missing_batches: tuple[tuple[str, int], ...] = ()
    """By stream, like the next two."""
    copied_boots: tuple[tuple[str, int], ...] = ()
    conflicting_batches: tuple[tuple[str, int], ...] = ()
    """Both omit streams that have none."""


@dataclass(frozen=True, slots=True)
class DurationSummary:
    """Quantiles of the last minutes in seconds (NaN without events, none if unknown), and all-time count and sum.

    `first_at` is when the endpoint's requests were first reported; None if they never were.
    """

    quantiles_s: tuple[tuple[float, float], ...]
    count: int
    sum_us: int
    first_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EndpointMetrics:
    """Everything that one scrape shows. Settings never reported are None; so is `data_at` if no agent ever reported.

    While the running replicas are unknown, `running_replicas` is None and `unknown_since` says since when.
    """

    replicas: tuple[ReplicaMetrics, ...]
    latency: DurationSummary
    time_to_first_byte: DurationSummary
    running_replicas: int | None
    unknown_since: datetime | None
    min_replicas: int | None
    max_replicas: int | None
    data_at: datetime | None
    status_counts: tuple[tuple[int, int], ...] = ()
    drop_reasons: tuple[str, ...] = ()
    """Both of the whole endpoint, including departed replicas."""


def parse_metrics(
    boots: Iterable[Row],
    events: Iterable[Row],
    current: Iterable[Row],
    sketches: Iterable[Row],
    hardware: Iterable[Row],
    engine: Iterable[Row],
    moment: Moment,
) -> dict[Key, EndpointMetrics]:
    """Combine the six results: the metrics of each endpoint that was ever reported, ordered by its name."""
    parts = [by_endpoint(rows) for rows in (boots, events, current, sketches, hardware, engine)]
    known = parts[0].keys() | parts[1].keys() | parts[2].keys()
    return {key: _endpoint_metrics(moment, *(part.get(key, []) for part in parts)) for key in sorted(known)}


def _endpoint_metrics(
    moment: Moment,
    boots: Iterable[Row],
    events: Iterable[Row],
    current: Sequence[Row],
    sketches: Sequence[Row],
    hardware: Iterable[Row],
    engine: Iterable[Row],
) -> EndpointMetrics:
    boots_of = {row.replica_id: row for row in map(BootsRow._make, boots)}
    events_of = {row.replica_id: row for row in map(EventsRow._make, events)}
    _, in_force, least, most = current[0] if current else (0, 0, 0, 0)
    whole, _ = boots_of.pop("", None), events_of.pop("", None)
    hardware_of = _current_samples(
        hardware,
        {name: (boot.hardware_append, boot.hardware_at) for name, boot in boots_of.items()},
        moment.now,
        moment.presence,
    )
    engine_of = _current_samples(
        engine,
        {name: (boot.engine_append, boot.engine_at) for name, boot in boots_of.items()},
        moment.now,
        moment.presence,
    )
    replicas, known = [], []
    for replica_id in sorted(boots_of.keys() | events_of.keys()):
        boot, event = boots_of.get(replica_id), events_of.get(replica_id)
        replica = moment.replica(replica_id, boot.report if boot else None, event.report if event else None)
        known.append(replica)
        if replica.is_present:
            replicas.append(
                ReplicaMetrics(
                    replica_id,
                    replica.state,
                    _request_totals(boot, replica.levels) if boot and boot.request_boots else None,
                    hardware_of.get(replica_id, ()),
                    engine_of.get(replica_id, ()),
                    _missing(boot) if boot else (),
                    _any(boot.copies) if boot else (),
                    _any(boot.conflicts) if boot else (),
                )
            )
    # While the pipeline is late, data of the last minutes is still missing.
    late = any(each.requests is not None and each.requests.levels is None for each in replicas)
    latency, ttfb = (None if late else _sketch(sketches, which) for which in ("latency", "ttfb"))
    first_at = _aware(whole.first_at) if whole and whole.request_boots else None
    return EndpointMetrics(
        replicas=tuple(replicas),
        latency=_summary(latency, whole.finished, whole.latency_sum_us, first_at)
        if whole
        else _summary(latency, 0, 0, None),
        time_to_first_byte=_summary(ttfb, whole.ttfb_count, whole.ttfb_sum_us, first_at)
        if whole
        else _summary(ttfb, 0, 0, None),
        running_replicas=moment.running(known),
        unknown_since=moment.unknown_since(known),
        min_replicas=least if in_force else None,
        max_replicas=most if in_force else None,
        data_at=whole.newest_at if whole else None,
        status_counts=tuple(zip(*whole.status, strict=True)) if whole else (),
        drop_reasons=tuple(reason for reason, _ in _lost(whole)) if whole else (),
    )


def _lost(boot: BootsRow) -> tuple[tuple[str, int], ...]:
    """Return lost requests by reason."""
    dropped, dropped_batches = (
        dict(zip(*boot.dropped, strict=True)),
        dict(zip(*boot.dropped_batches, strict=True)),
    )
    lost = count_losses(dropped, dropped_batches, boot.missing, boot.uncounted)
    return tuple(sorted(lost.reasons.items()))


def _request_totals(boot: BootsRow, levels: RequestLevels | None) -> RequestTotals:
    return RequestTotals(
        first_at=_aware(boot.first_at),
        status_counts=tuple(zip(*boot.status, strict=True)),
        aborted_pending=boot.aborted_pending,
        aborted_streaming=boot.aborted_streaming,
        dropped=_lost(boot),
        levels=levels,
    )


def _missing(boot: BootsRow) -> tuple[tuple[str, int], ...]:
    """Return the missing batches of the streams that the replica's agents send."""
    streams = (
        ("requests", boot.request_boots > 0, boot.missing),
        ("hardware", boot.hardware_at.year > 1970, boot.hardware_missing),
        ("engine", boot.engine_at.year > 1970, boot.engine_missing),
        ("outcomes", boot.outcome_boots > 0, boot.outcome_missing),
    )
    return tuple((stream, missing) for stream, is_sent, missing in streams if is_sent)


def _any(by_stream: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((stream, count) for stream, count in by_stream.items() if count))


def _sketch(rows: Iterable[Row], which: str) -> Sketch:
    """Return the ascending buckets and the counts of one of the two sketches in the rows of SKETCHES."""
    return next(((buckets, counts) for name, buckets, counts in rows if name == which), ([], []))


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _summary(sketch: Sketch | None, count: int, sum_us: int, first_at: datetime | None) -> DurationSummary:
    if sketch is None:
        return DurationSummary((), count, sum_us, first_at)
    seconds = (quantile_us / 1e6 for quantile_us in quantiles(*sketch, QUANTILES))
    return DurationSummary(tuple(zip(QUANTILES, seconds, strict=True)), count, sum_us, first_at)


def oldest_sample_at(boots: Iterable[Row], now: datetime, presence: Presence) -> datetime:
    """Return the start of the oldest window that may have a current sample, from the rows of BOOTS."""
    heard = (
        at
        for boot in (BootsRow._make(row[2:]) for row in boots)
        for append_at, at in ((boot.hardware_append, boot.hardware_at), (boot.engine_append, boot.engine_at))
        if append_at >= now - presence.heartbeat
    )
    # By the replicas' own clocks, one of which may be wrong by hours: others must not pay for it.
    oldest = max(min(heard, default=now), now - _CLOCK_SKEW)
    return oldest - presence.heartbeat - _WINDOW


def _current_samples(
    rows: Iterable[Row], heard_of: Mapping[str, tuple[datetime, datetime]], now: datetime, presence: Presence
) -> dict[str, tuple[NewestSample, ...]]:
    """Return the current samples by replica: from a live agent, and not much older than its newest batch.

    They are in the order of metrics and devices. `heard_of` has, for each replica, when the broker appended the newest
    batch of samples, and that batch's end.
    """
    samples: dict[str, tuple[NewestSample, ...]] = {}
    for replica_id, metrics, devices, values, ats_us in rows:
        heard_at, newest_at = heard_of.get(replica_id, (_NEVER, _NEVER))
        if heard_at < now - presence.heartbeat:
            continue
        oldest_us = (newest_at - presence.heartbeat - _NEVER) // timedelta(microseconds=1)
        current = (
            sample[:3]
            for sample in zip(metrics, devices, values, ats_us, strict=True)
            if sample[3] >= oldest_us
        )
        samples[replica_id] = tuple(map(NewestSample._make, sorted(current)))
    return samples
