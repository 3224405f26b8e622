"""The queries for autoscaling signals: of one endpoint, or of all endpoints reported in the last days.

`signals` interprets the rows. `now` is an argument, so that all queries of one answer refer to the same moment. The
means are those of the SQL views for analysts.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from endpoint_analytics.pipeline.store.progress import Progress, read_progress
from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.scope import EVERYTHING, Key, Scope
from endpoint_analytics.pipeline.store.signals import EndpointSignals, parse_signals

HEARD = """
SELECT namespace, endpoint, replica_id, boot_id,
    max(last_append), argMax((stream, partition), last_append),
    maxIf(last_append, stream = 'requests'), argMaxIf(partition, last_append, stream = 'requests'),
    maxIf(last_append, stream = 'hardware'), argMaxIf(partition, last_append, stream = 'hardware')
FROM boots
WHERE last_append >= {at:DateTime64(3, 'UTC')} - INTERVAL 2 DAY AND WHOSE
GROUP BY namespace, endpoint, replica_id, boot_id
"""

STATES = """
SELECT namespace, endpoint, replica_id, toString(argMax(state, (at, offset))), max(at),
    argMax(partition, (at, offset))
FROM replica_events
WHERE at >= {at:DateTime64(3, 'UTC')} - INTERVAL 7 DAY AND WHOSE
GROUP BY namespace, endpoint, replica_id
"""

# Same as the view agent_levels_at; querying the view makes ClickHouse's planning half as long again.
LEVELS = """
SELECT namespace, endpoint, replica_id, boot_id, reported_us, pending, streaming
FROM
(
SELECT namespace, endpoint, replica_id, boot_id,
    max(toInt64(toUnixTimestamp(window_start)) * 1000000 + covered_to_us) AS reported_us,
    groupArray((
        (toInt64(toUnixTimestamp(window_start)) + 10) * 1000000,
        toInt64(covered_to_us) - covered_from_us,
        pending_request_us,
        streaming_request_us)) AS rows,
    arrayMap(row -> least(1., greatest(0., (row.1 - reported_us + 20000000) / 10000000)), rows) AS shares,
    arraySum((row, share) -> share * row.2, rows, shares) AS covered_us,
    arraySum((row, share) -> share * row.3, rows, shares) / covered_us AS pending,
    arraySum((row, share) -> share * row.4, rows, shares) / covered_us AS streaming
FROM request_windows FINAL
WHERE window_start >= toDateTime({at:DateTime64(3, 'UTC')}, 'UTC') - INTERVAL 90 SECOND
    AND covered_to_us > covered_from_us
    AND WHOSE
GROUP BY namespace, endpoint, replica_id, boot_id
)
"""

# Same as the view replica_hardware_at, a row a replica.
HARDWARE = """
SELECT namespace, endpoint, replica_id, groupArray(metric), groupArray(reported_us), groupArray(mean)
FROM
(
SELECT namespace, endpoint, replica_id, metric,
    max(newest_us) AS reported_us,
    groupArray((end_us, total, count)) AS rows,
    arrayMap(row -> least(1., greatest(0., (row.1 - reported_us + 60000000) / 10000000)), rows) AS shares,
    arraySum((row, share) -> share * row.2, rows, shares)
        / arraySum((row, share) -> share * row.3, rows, shares) AS mean
FROM
(
    SELECT namespace, endpoint, replica_id, metric,
        (toInt64(toUnixTimestamp(window_start)) + 10) * 1000000 AS end_us,
        toUnixTimestamp64Micro(last_at) AS newest_us,
        sum AS total, toFloat64(samples) AS count
    FROM hardware_windows FINAL
    WHERE window_start >= toDateTime({at:DateTime64(3, 'UTC')}, 'UTC') - INTERVAL 130 SECOND
        AND metric IN ('cpu_percent', 'memory_used_bytes', 'memory_limit_bytes', 'gpu_percent',
            'gpu_memory_used_bytes', 'gpu_memory_total_bytes')
        AND WHOSE
)
GROUP BY namespace, endpoint, replica_id, metric
)
GROUP BY namespace, endpoint, replica_id
"""


async def read_signals(
    reader: Reader, namespace: str, endpoint: str, now: datetime
) -> EndpointSignals | None:
    """Return the endpoint's signals at `now` (aware, UTC), or None if no agent reported recently.

    Raises StoreError if a query fails.
    """
    found = await read_all_signals(reader, now, Scope(namespace, endpoint))
    return found.get(Key(namespace, endpoint))


async def read_all_signals(
    reader: Reader, now: datetime, scope: Scope = EVERYTHING, known: Progress | None = None
) -> dict[Key, EndpointSignals]:
    """Return the signals at `now` (aware, UTC) of every endpoint in the scope with an agent that reported recently.

    The pipeline's progress is read if it is not `known`. Raises StoreError if a query fails.
    """
    given = scope.parameters | {"at": now.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]}
    # SQL and Python both compare whole milliseconds.
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    async with query_group() as group:
        progress = None if known else group.create_task(read_progress(reader))
        heard, states, levels, hardware = (
            group.create_task(reader.read(scope.sql(sql), given)) for sql in (HEARD, STATES, LEVELS, HARDWARE)
        )
    rows = heard.result(), states.result(), levels.result(), hardware.result()
    known = progress.result() if progress else known or Progress({})
    if scope.endpoint:
        return parse_signals(*rows, known, now)
    return await asyncio.to_thread(
        parse_signals, *rows, known, now
    )  # thousands of replicas: nobody waits for them
