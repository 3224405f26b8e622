"""The queries for the current numbers of one endpoint, or of many at once.

`endpoint_numbers` interprets the rows. `now` is an argument, so that all queries of one answer refer to the same
moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from endpoint_analytics.pipeline.store.endpoint_numbers import (
    EndpointMetrics,
    oldest_sample_at,
    parse_metrics,
)
from endpoint_analytics.pipeline.store.listed_endpoints import read_listed
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.progress import read_progress
from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.read_model import Moment
from endpoint_analytics.pipeline.store.reader import Reader, Row
from endpoint_analytics.pipeline.store.scope import Key, Scope
from endpoint_analytics.schemas.metrics import HARDWARE_METRICS


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Settings of the queries: the window of quantiles, and how long silence is tolerated."""

    quantile_window: timedelta = timedelta(minutes=5)
    presence: Presence = field(default_factory=Presence)


# The row with an empty replica_id is the whole endpoint, including departed replicas: its sums never decrease.
BOOTS = """
SELECT
    namespace,
    endpoint,
    replica_id,
    count() AS boots,
    max(last_append) AS newest_append,
    argMax((stream, partition), last_append),
    max(last_at) AS newest_at,
    maxIf(last_append, stream = 'hardware') AS hardware_append,
    maxIf(last_at, stream = 'hardware') AS hardware_at,
    maxIf(last_append, stream = 'engine') AS engine_append,
    maxIf(last_at, stream = 'engine') AS engine_at,
    countIf(stream = 'requests') AS request_boots,
    minIf(first_at, stream = 'requests'),
    argMaxIf(partition, last_append, stream = 'requests'),
    sumMapIf(status_codes, status_counts, stream = 'requests'),
    sumMapIf(dropped_reasons, dropped_counts, stream = 'requests'),
    sumMapIf(dropped_batch_reasons, dropped_batch_counts, stream = 'requests'),
    sumIf(if(missing > 0, greatest(toInt64(agent_arrived) - toInt64(arrived), 0), 0), stream = 'requests'),
    sumIf(missing, stream = 'requests'),
    sumIf(missing, stream = 'hardware'),
    sumIf(missing, stream = 'engine'),
    countIf(stream = 'outcomes'),
    sumIf(missing, stream = 'outcomes'),
    sumIf(aborted_pending, stream = 'requests'),
    sumIf(aborted_streaming, stream = 'requests'),
    groupArrayIf((last_append, partition, pending, streaming, oldest_pending_us),
        stream = 'requests' AND last_append >= {present_from:DateTime64(3, 'UTC')}),
    sumIf(finished, stream = 'requests'),
    sumIf(latency_sum_us, stream = 'requests'),
    sumIf(ttfb_count, stream = 'requests'),
    sumIf(ttfb_sum_us, stream = 'requests'),
    sumMap(map(stream, toUInt64(copies))),
    sumMap(map(stream, conflicts))
FROM boots FINAL
WHERE WHOSE
GROUP BY GROUPING SETS ((namespace, endpoint, replica_id), (namespace, endpoint))
HAVING replica_id = '' OR newest_append >= {present_from:DateTime64(3, 'UTC')}
    OR (namespace, endpoint, replica_id) IN
(
    SELECT namespace, endpoint, replica_id FROM replica_events
    WHERE WHOSE AND at >= {waiting_from:DateTime64(6, 'UTC')}
)
ORDER BY replica_id
"""

# The row with an empty replica_id shows that the endpoint has events, however old.
EVENTS = """
SELECT namespace, endpoint, replica_id, count(), toString(argMax(state, (at, offset))), max(at) AS newest,
    argMax(partition, (at, offset))
FROM replica_events FINAL
WHERE WHOSE
GROUP BY GROUPING SETS ((namespace, endpoint, replica_id), (namespace, endpoint))
HAVING replica_id = '' OR newest >= {waiting_from:DateTime64(6, 'UTC')}
    OR (namespace, endpoint, replica_id) IN
(
    SELECT namespace, endpoint, replica_id FROM boots
    WHERE WHOSE AND last_append >= {present_from:DateTime64(3, 'UTC')}
)
ORDER BY replica_id
"""

SETTINGS = """
SELECT
    namespace,
    endpoint,
    count(),
    countIf(at <= {now:DateTime64(6, 'UTC')}),
    argMaxIf(min_replicas, (at, offset), at <= {now:DateTime64(6, 'UTC')}),
    argMaxIf(max_replicas, (at, offset), at <= {now:DateTime64(6, 'UTC')})
FROM endpoint_settings FINAL
WHERE WHOSE
GROUP BY namespace, endpoint
"""

_SKETCHES = """
SELECT namespace, endpoint, '{phase}', groupArray(bucket), groupArray(requests)
FROM
(
    SELECT namespace, endpoint, bucket, sum(count) AS requests
    FROM request_windows FINAL ARRAY JOIN {phase}_buckets AS bucket, {phase}_counts AS count
    WHERE WHOSE AND window_start >= {{window_from:DateTime('UTC')}}
    GROUP BY namespace, endpoint, bucket
    ORDER BY namespace, endpoint, bucket
)
GROUP BY namespace, endpoint
"""
# Same result as sumMap, in a fifth of its time.
SKETCHES = "UNION ALL".join(_SKETCHES.format(phase=phase) for phase in ("latency", "ttfb"))

# A row a replica, since rows of strings are what takes long. Without FINAL: a replaced row holds an older sample, which
# argMax ignores.
_NEWEST_SAMPLES = """
SELECT namespace, endpoint, replica_id,
    groupArray(metric), groupArray(device), groupArray(value), groupArray(at_us)
FROM
(
    SELECT namespace, endpoint, replica_id, metric, {device} AS device,
        argMax(last, last_at) AS value, toUnixTimestamp64Micro(max(last_at)) AS at_us
    FROM {table}
    WHERE WHOSE AND window_start >= {{samples_from:DateTime('UTC')}} AND {condition}
    GROUP BY namespace, endpoint, replica_id, metric, device
)
GROUP BY namespace, endpoint, replica_id
"""
HARDWARE = _NEWEST_SAMPLES.format(
    table="hardware_windows", device="hardware_windows.device", condition="metric IN {metrics:Array(String)}"
)
# The serving engines' own metrics; agents may be configured to send metrics that are not listed here.
ENGINE = _NEWEST_SAMPLES.format(table="engine_windows", device="''", condition="1")

_EXPORTED = [metric.name for metric in HARDWARE_METRICS if metric.family]


@dataclass(frozen=True, slots=True)
class HeardFrom:
    """Since when a replica must have reported to be present: its agents, or, for those in a state, their last state."""

    present: datetime
    waiting: datetime

    @classmethod
    def at(cls, moment: Moment) -> HeardFrom:
        """Return since when a replica must have reported to be present at the moment."""
        presence = moment.presence
        judged_from = moment.progress.judged_from(moment.now, presence)
        return cls(judged_from - presence.grace, judged_from - max(presence.waiting, presence.grace))

    @property
    def parameters(self) -> dict[str, str]:
        """Return the parameters of BOOTS and EVENTS."""
        return {"present_from": _utc(self.present), "waiting_from": _utc(self.waiting)}


async def read_endpoint_metrics(
    reader: Reader, namespace: str, endpoint: str, now: datetime, settings: MetricsSettings
) -> EndpointMetrics | None:
    """Return the endpoint's metrics at `now` (aware, UTC), or None if it was never reported; raises StoreError."""
    moment = Moment(await read_progress(reader), settings.presence, now)
    found = await read_metrics(reader, Scope(namespace, endpoint), moment, settings.quantile_window)
    return found.get(Key(namespace, endpoint))


class Wanted(NamedTuple):
    """Which parts of the metrics are read; others are as if there were no data."""

    quantiles: bool = True
    hardware: bool = True
    engine: bool = True


EVERY_PART = Wanted()


async def read_metrics(
    reader: Reader, scope: Scope, moment: Moment, quantile_window: timedelta, wanted: Wanted = EVERY_PART
) -> dict[Key, EndpointMetrics]:
    """Return the metrics of the scope's endpoints by name: of one, or of those that have not left.

    First reads who has not left, then runs up to six queries concurrently, the last two as soon as it is known how old
    a sample may be. Raises StoreError if any of them fails.
    """
    progress, presence, now = moment.progress, moment.presence, moment.now
    listed = None if scope.endpoint else frozenset(await read_listed(reader, scope, progress, presence, now))
    if listed is not None:
        if not listed:
            return {}
        scope = scope.of(listed)
    heard = HeardFrom.at(moment).parameters
    window_from = {"window_from": _seconds(now - quantile_window)}

    async def read(sql: str, parameters: Mapping[str, object], is_wanted: bool = True) -> Sequence[Row]:
        return await reader.read(scope.sql(sql), {**scope.parameters, **parameters}) if is_wanted else ()

    async with query_group() as group:
        boots = group.create_task(read(BOOTS, heard))
        events = group.create_task(read(EVENTS, heard))
        current = group.create_task(read(SETTINGS, {"now": _utc(now)}))
        sketches = group.create_task(read(SKETCHES, window_from, wanted.quantiles))
        samples_from = {"samples_from": _seconds(oldest_sample_at(await boots, now, presence))}
        hardware = group.create_task(read(HARDWARE, {**samples_from, "metrics": _EXPORTED}, wanted.hardware))
        engine = group.create_task(read(ENGINE, samples_from, wanted.engine))
    endpoints = await asyncio.to_thread(
        parse_metrics,
        boots.result(),
        events.result(),
        current.result(),
        sketches.result(),
        hardware.result(),
        engine.result(),
        moment,
    )
    if listed is not None:
        endpoints = {key: found for key, found in endpoints.items() if key in listed}
    return endpoints


def _utc(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


def _seconds(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")
