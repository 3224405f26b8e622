"""The queries for autoscaling signals: of one endpoint, or of all that were heard of in the last days.

What follows from the rows is told in `signals`. `now` is an argument, so that all queries of one answer speak
of the same moment. The means themselves are views, of which analysts see no others.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from endpoint_analytics.pipeline.store.endpoint_metrics import Reader
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.signals import EndpointSignals, Key, parse_signals

_ONE = "namespace = {namespace:String} AND endpoint = {endpoint:String}"

HEARD = """
SELECT namespace, endpoint, replica_id, boot_id,
    max(last_append), maxIf(last_append, stream = 'requests'), maxIf(last_append, stream = 'hardware')
FROM boots
WHERE last_append >= {at:DateTime64(3, 'UTC')} - INTERVAL 2 DAY AND WHOSE
GROUP BY namespace, endpoint, replica_id, boot_id
"""

TOLD = """
SELECT namespace, endpoint, replica_id, toString(argMax(state, (at, offset))), max(at)
FROM replica_events
WHERE at >= {at:DateTime64(3, 'UTC')} - INTERVAL 7 DAY AND WHOSE
GROUP BY namespace, endpoint, replica_id
"""

LEVELS = """
SELECT namespace, endpoint, replica_id, boot_id, told_us, pending, streaming
FROM agent_levels_at(at = {at:DateTime64(3, 'UTC')})
WHERE WHOSE
"""

HARDWARE = """
SELECT namespace, endpoint, replica_id, told_us, cpu, memory, gpu, gpu_memory
FROM replica_hardware_at(at = {at:DateTime64(3, 'UTC')})
WHERE WHOSE
"""


async def read_signals(
    reader: Reader, namespace: str, endpoint: str, now: datetime
) -> EndpointSignals | None:
    """Return the endpoint's signals at `now` (aware, UTC), None when no agent was heard of late.

    Raises StoreError when a query cannot be answered.
    """
    of_endpoint = {"namespace": namespace, "endpoint": endpoint}
    return (await _read(reader, _ONE, of_endpoint, now)).get((namespace, endpoint))


async def read_all_signals(reader: Reader, now: datetime) -> dict[Key, EndpointSignals]:
    """Return the signals at `now` (aware, UTC) of every endpoint of which an agent was heard of late."""
    return await _read(reader, "true", {}, now)


async def _read(
    reader: Reader, whose: str, parameters: dict[str, str], now: datetime
) -> dict[Key, EndpointSignals]:
    given = parameters | {"at": now.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]}
    # Both sides of the comparison of SQL and of Python see whole milliseconds.
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    try:
        async with asyncio.TaskGroup() as group:
            heard, told, levels, hardware = (
                group.create_task(reader.read(sql.replace("WHOSE", whose), given))
                for sql in (HEARD, TOLD, LEVELS, HARDWARE)
            )
    except* StoreError as errors:
        raise errors.exceptions[0] from None
    return parse_signals(heard.result(), told.result(), levels.result(), hardware.result(), now)
