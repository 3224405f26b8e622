"""Autoscaling signals: the cost of reading one endpoint with 100 replicas, and 1,000 endpoints with 2 at once.

ClickHouse is filled by SQL with an hour of 10 s windows, like those of the worker. The peer is the other queries of a
scrape of the endpoint with 100 replicas, in the same run.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.pipeline.store.rows import all_known

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.signals.messages import signal_message
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.database import Database
from endpoint_analytics.pipeline.store.endpoint_metrics import MetricsSettings, read_endpoint_metrics
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.signal_queries import read_all_signals, read_signals
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig

ENDPOINTS, REPLICAS_EACH, REPLICAS_OF_LARGE = 1000, 2, 100
WINDOWS = 360
ROUNDS = 15
METRICS = ("cpu_percent", "memory_used_bytes", "memory_limit_bytes", "gpu_percent", "gpu_memory_used_bytes",
           "gpu_memory_total_bytes", "gpu_power_watts", "network_sent_bytes")  # fmt: skip

_OTHERS = ENDPOINTS * REPLICAS_EACH
_REPLICAS = f"""
(
    SELECT if(number < {_OTHERS}, concat('e', toString(intDiv(number, {REPLICAS_EACH}))), 'large') AS endpoint,
        concat('r', toString(number)) AS replica
    FROM numbers({_OTHERS + REPLICAS_OF_LARGE})
)"""
_FILL = (
    f"""INSERT INTO request_windows (namespace, endpoint, replica_id, boot_id, window_start, chunk, version,
    covered_to_us, pending_request_us) SELECT 'bench', endpoint, replica, 'b',
    toDateTime({{now_s}} - {{now_s}} % 10 - w.number * 10), w.number, 1, 10000000, 20000000
    FROM {_REPLICAS} AS r CROSS JOIN numbers({WINDOWS}) AS w""",
    *(
        f"""INSERT INTO hardware_windows (namespace, endpoint, replica_id, boot_id, metric, window_start, chunk,
        version, samples, sum, last_at) SELECT 'bench', endpoint, replica, 'b', '{metric}',
        toDateTime({{now_s}} - {{now_s}} % 10 - w.number * 10) AS at, w.number, 1, 10, 100, at + 9
        FROM {_REPLICAS} AS r CROSS JOIN numbers({WINDOWS}) AS w"""
        for metric in METRICS
    ),
    f"""INSERT INTO boot_states (stream, namespace, endpoint, replica_id, boot_id, version, chunk_time, last_append)
    SELECT stream, 'bench', endpoint, replica, 'b', 1, {{now_s}}, now64(3) + INTERVAL 1 HOUR
    FROM {_REPLICAS} AS r ARRAY JOIN ['requests', 'hardware'] AS stream""",
    f"""INSERT INTO replica_events (namespace, endpoint, replica_id, at, state)
    SELECT 'bench', endpoint, replica, now64(6) - INTERVAL 1 HOUR, 'running' FROM {_REPLICAS} AS r""",
)


def fill(client: Client, now_s: int) -> None:
    """Fill the tables with the rows of one hour."""
    for statement in _FILL:
        client.command(statement.replace("{now_s}", str(now_s)))


async def _print(name: str, read: Callable[[], Awaitable[Any]]) -> None:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        await read()
        times.append((time.perf_counter() - started) * 1e3)
    times.sort()
    print(f"{name:<58} p50 {times[len(times) // 2]:7.1f} ms, max {times[-1]:7.1f} ms", flush=True)


async def _measure(config: ClickHouseConfig, now_s: int) -> None:
    connection = Database(config)
    now = datetime.fromtimestamp(now_s, UTC)
    settings = MetricsSettings()

    async def sent() -> None:
        found = await read_all_signals(connection, now)
        for signals in found.values():
            encode(signal_message(signals))

    def view(where: str) -> Callable[[], Awaitable[Any]]:
        sql = f"SELECT * FROM endpoint_signals_at(at = {{at:DateTime64(3, 'UTC')}}) {where}"
        return lambda: connection.read(sql, {"at": now.strftime("%Y-%m-%d %H:%M:%S")})

    found = await read_all_signals(connection, now)
    assert len(found) == ENDPOINTS + 1
    assert {each.pending_per_replica for each in found.values()} == {2.0}
    await _print("signals of an endpoint of 2", lambda: read_signals(connection, "bench", "e7", now))
    await _print("signals of an endpoint of 100", lambda: read_signals(connection, "bench", "large", now))
    await _print(
        "peer: what a scrape of it reads besides",
        lambda: read_endpoint_metrics(connection, "bench", "large", now, settings),
    )
    await _print(f"signals of {ENDPOINTS + 1} endpoints", lambda: read_all_signals(connection, now))
    await _print("the same, with the messages made", sent)
    await _print("the SQL view, an endpoint of 100", view("WHERE namespace = 'bench' AND endpoint = 'large'"))
    await _print("the SQL view, all endpoints", view(""))
    await connection.close()


def main() -> None:
    """Fill a ClickHouse and print the times."""
    with (
        tempfile.TemporaryDirectory() as directory,
        ClickHouseProcess(Path(directory) / "clickhouse") as database,
    ):
        config = database.config()
        migrate(config)
        client = connect(config, read_timeout_s=600)
        all_known(client)
        now_s, started = int(time.time()), time.perf_counter()
        fill(client, now_s)
        client.close()
        print(
            f"filled with an hour of {_OTHERS + REPLICAS_OF_LARGE} replicas in {time.perf_counter() - started:.0f} s"
        )
        asyncio.run(_measure(config, now_s))


if __name__ == "__main__":
    main()
