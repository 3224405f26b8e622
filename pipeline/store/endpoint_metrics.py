"""The numbers of one endpoint as ClickHouse has them now: the queries, and their rows made into data.

How they are named and written as text is the query service's work. `now` is an argument, so that all
queries of one answer speak of the same moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from endpoint_analytics.pipeline.core.sketch import quantiles
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.presence import LastHeard, Presence, is_present, shown_state
from endpoint_analytics.schemas.metrics import HARDWARE_METRICS
from endpoint_analytics.schemas.replicas import State

QUANTILES = (0.5, 0.9, 0.95, 0.99)

Row = Sequence[Any]


class Reader(Protocol):
    """Runs one query with server-side parameters; the query service's, and a plain client in tests."""

    async def read(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Return the rows; raises StoreError."""
        ...


@dataclass(frozen=True, slots=True)
class HardwareSample:
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
    hardware: tuple[HardwareSample, ...]


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


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """What the queries may be told: the quantiles' window, and how long silence is borne."""

    quantile_window: timedelta = timedelta(minutes=5)
    presence: Presence = field(default_factory=Presence)


# The row with an empty replica_id is the whole endpoint, departed replicas included: its sums never go down.
BOOTS = """
SELECT
    replica_id,
    max(last_append) AS newest_append,
    maxIf(last_append, stream = 'hardware') AS hardware_append,
    max(last_at) AS newest_at,
    maxIf(last_at, stream = 'hardware') AS hardware_at,
    countIf(stream = 'requests') AS request_boots,
    sumMapIf(status_codes, status_counts, stream = 'requests') AS status,
    sumIf(aborted_pending, stream = 'requests'),
    sumIf(aborted_streaming, stream = 'requests'),
    sumMapIf(dropped_reasons, dropped_counts, stream = 'requests') AS dropped,
    sumIf(pending, stream = 'requests' AND last_append >= {alive_from:DateTime64(3, 'UTC')}),
    sumIf(streaming, stream = 'requests' AND last_append >= {alive_from:DateTime64(3, 'UTC')}),
    maxIf(oldest_pending_us, stream = 'requests' AND last_append >= {alive_from:DateTime64(3, 'UTC')}),
    sumIf(finished, stream = 'requests'),
    sumIf(latency_sum_us, stream = 'requests'),
    sumIf(ttfb_count, stream = 'requests'),
    sumIf(ttfb_sum_us, stream = 'requests'),
    count()
FROM boots FINAL
WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
GROUP BY GROUPING SETS ((replica_id), ())
HAVING replica_id = '' OR newest_append >= {present_from:DateTime64(3, 'UTC')} OR replica_id IN
(
    SELECT replica_id FROM replica_events
    WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
        AND at >= {waiting_from:DateTime64(6, 'UTC')}
)
ORDER BY replica_id
"""

# The row with an empty replica_id says that the endpoint has events, however old.
EVENTS = """
SELECT replica_id, toString(argMax(state, (at, offset))), max(at) AS newest, count()
FROM replica_events FINAL
WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
GROUP BY GROUPING SETS ((replica_id), ())
HAVING replica_id = '' OR newest >= {waiting_from:DateTime64(6, 'UTC')} OR replica_id IN
(
    SELECT replica_id FROM boots
    WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
        AND last_append >= {present_from:DateTime64(3, 'UTC')}
)
ORDER BY replica_id
"""

SETTINGS = """
SELECT
    count(),
    countIf(at <= {now:DateTime64(6, 'UTC')}),
    argMaxIf(min_replicas, (at, offset), at <= {now:DateTime64(6, 'UTC')}),
    argMaxIf(max_replicas, (at, offset), at <= {now:DateTime64(6, 'UTC')})
FROM endpoint_settings FINAL
WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
"""

SKETCHES = """
SELECT sumMap(latency_buckets, latency_counts), sumMap(ttfb_buckets, ttfb_counts)
FROM request_windows FINAL
WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
    AND window_start >= {window_from:DateTime('UTC')}
"""

# Without FINAL: a row that was replaced holds an older sample, which argMax passes over.
HARDWARE = """
SELECT replica_id, metric, device, argMax(last, last_at), max(last_at)
FROM hardware_windows
WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
    AND window_start >= {hardware_from:DateTime('UTC')} AND metric IN {metrics:Array(String)}
GROUP BY replica_id, metric, device
ORDER BY replica_id, metric, device
"""

# Event times come from the replicas' clocks; one may be so much behind and its hardware is still found.
_CLOCK_SKEW = timedelta(minutes=2)
_EXPORTED = [metric.name for metric in HARDWARE_METRICS if metric.family]


async def read_endpoint_metrics(
    reader: Reader, namespace: str, endpoint: str, now: datetime, settings: MetricsSettings
) -> EndpointMetrics | None:
    """Return the endpoint's metrics at `now` (aware, UTC), None when nothing was ever heard of it.

    Runs five queries side by side; raises StoreError when one cannot be answered.
    """
    presence = settings.presence
    endpoint_of: dict[str, Any] = {"namespace": namespace, "endpoint": endpoint}
    heard_from = {
        "present_from": _utc(now - presence.grace),
        "waiting_from": _utc(now - max(presence.waiting, presence.grace)),
    }
    heartbeat_from = {"alive_from": _utc(now - presence.heartbeat)}
    window_from = {"window_from": _seconds(now - settings.quantile_window)}
    hardware_from = {"hardware_from": _seconds(now - _CLOCK_SKEW), "metrics": _EXPORTED}
    try:
        async with asyncio.TaskGroup() as group:
            boots = group.create_task(reader.read(BOOTS, endpoint_of | heard_from | heartbeat_from))
            events = group.create_task(reader.read(EVENTS, endpoint_of | heard_from))
            current = group.create_task(reader.read(SETTINGS, endpoint_of | {"now": _utc(now)}))
            sketches = group.create_task(reader.read(SKETCHES, endpoint_of | window_from))
            hardware = group.create_task(reader.read(HARDWARE, endpoint_of | hardware_from))
    except* StoreError as errors:
        raise errors.exceptions[0] from None
    return parse_endpoint_metrics(
        boots.result(), events.result(), current.result(), sketches.result(), hardware.result(), now, presence
    )


def parse_endpoint_metrics(
    boots: Sequence[Row],
    events: Sequence[Row],
    current: Sequence[Row],
    sketches: Sequence[Row],
    hardware: Sequence[Row],
    now: datetime,
    presence: Presence,
) -> EndpointMetrics | None:
    """Put the five answers together."""
    boot_of = {row[0]: row for row in boots if row[17]}
    event_of = {row[0]: row for row in events if row[3]}
    if not boot_of and not event_of and not (current and current[0][0]):
        return None
    samples_of = _current_samples(hardware, boot_of, now, presence)
    whole = boot_of.pop("", None)
    event_of.pop("", None)
    replicas = []
    for replica_id in sorted(boot_of.keys() | event_of.keys()):
        boot, event = boot_of.get(replica_id), event_of.get(replica_id)
        heard = LastHeard(
            append_at=None if boot is None else boot[1],
            state=None if event is None else event[1],
            state_at=None if event is None else event[2],
        )
        if is_present(heard, presence, now):
            state = shown_state(replica_id, heard, presence, now)
            requests = _request_totals(boot) if boot and boot[5] else None
            replicas.append(ReplicaMetrics(replica_id, state, requests, samples_of.get(replica_id, ())))
    _, in_force, least, most = current[0] if current else (0, 0, 0, 0)
    latency, ttfb = sketches[0] if sketches else (((), ()), ((), ()))
    return EndpointMetrics(
        replicas=tuple(replicas),
        latency=_summary(latency, whole[13] if whole else 0, whole[14] if whole else 0),
        time_to_first_byte=_summary(ttfb, whole[15] if whole else 0, whole[16] if whole else 0),
        running_replicas=sum(replica.state == "running" for replica in replicas),
        min_replicas=least if in_force else None,
        max_replicas=most if in_force else None,
        data_at=whole[3] if whole else None,
    )


def _request_totals(boot: Row) -> RequestTotals:
    return RequestTotals(
        status_counts=tuple(zip(*boot[6], strict=True)),
        aborted_pending=boot[7],
        aborted_streaming=boot[8],
        dropped=tuple(zip(*boot[9], strict=True)),
        pending=boot[10],
        streaming=boot[11],
        oldest_pending_us=boot[12],
    )


def _summary(sketch: tuple[Sequence[int], Sequence[int]], count: int, sum_us: int) -> Summary:
    seconds = (quantile_us / 1e6 for quantile_us in quantiles(*sketch, QUANTILES))
    return Summary(tuple(zip(QUANTILES, seconds, strict=True)), count, sum_us)


def _current_samples(
    rows: Iterable[Row], boot_of: Mapping[str, Row], now: datetime, presence: Presence
) -> dict[str, tuple[HardwareSample, ...]]:
    """Return the samples that are current: of a living agent, and not older than what it last told."""
    samples: dict[str, list[HardwareSample]] = {}
    for replica_id, metric, device, value, at in rows:
        boot = boot_of.get(replica_id)
        alive = boot is not None and boot[2] >= now - presence.heartbeat
        if alive and boot is not None and at >= boot[4] - presence.heartbeat:
            samples.setdefault(replica_id, []).append(HardwareSample(metric, device, value))
    return {replica_id: tuple(found) for replica_id, found in samples.items()}


def _utc(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


def _seconds(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")
