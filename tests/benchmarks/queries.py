"""Long ranges: an endpoint of 100 replicas, each series over growing ranges, from the levels and from raw rows.

ClickHouse holds what true traffic of 20 requests a second and replica makes (`stored_traffic`): 6 h of 10 s windows,
which are rolled up; minutes for the 2 days and hours for the 30 days before. The peer is the same query answered only
from 10 s rows, where they exist: 6 h; 30 days would have 120 times as many. Times are of whole answers in process:
queries, rows, JSON. The list is that of 51 endpoints. Before: the bytes that a replica's day takes at the finest level.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks import results
from tests.benchmarks.results import Figure
from tests.benchmarks.stored_traffic import EPOCH_S, Filling
from tests.pipeline.store.rows import all_known

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.serve.api.endpoint_answers import EndpointAnswers
from endpoint_analytics.pipeline.serve.api.models import encode
from endpoint_analytics.pipeline.serve.api.overview import Overview
from endpoint_analytics.pipeline.serve.api.query import Query
from endpoint_analytics.pipeline.serve.api.rollup_loop import RollupConnection
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.rollup import SLACK_S, read_rollup_progress, roll_up
from endpoint_analytics.pipeline.store.rollup_levels import Retention, RollupProgress
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig

REPLICAS = 100
EPOCHS = 18  # 6 h of 10 s windows
MINUTE_DAYS, HOUR_DAYS = 2, 30
LISTED = 50  # endpoints of two replicas beside it, for the list; they have lived for an hour
ROUNDS = 15
METRICS = ("cpu_percent", "memory_used_bytes", "gpu_percent", "gpu_memory_used_bytes")


class _Reader:
    """Counts the rows that ClickHouse returns."""

    def __init__(self, connection: RollupConnection) -> None:
        self._connection = connection

    async def read(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return await self._connection.read(sql, parameters)


async def _times_ms(ask: Callable[[], Awaitable[Any]]) -> tuple[list[float], int]:
    times, size = [], 0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        answer = await ask()
        size = len(encode(answer)) if answer else 0
        times.append((time.perf_counter() - started) * 1e3)
    return sorted(times), size


def _line(name: str, times: list[float], size: int) -> str:
    return f"{name:<58} p50 {times[len(times) // 2]:7.1f} ms, p99 {times[-1]:7.1f} ms, {size / 1024:7.1f} KiB"


_PAGE = "the page: requests, pending, latency, ttfb, summary, replicas"
_QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("requests", {"groups": ("requests",)}),
    ("pending", {"groups": ("pending",)}),
    ("latency", {"groups": ("latency",)}),
    ("ttfb", {"groups": ("ttfb",)}),
    ("summary", {"parts": ("summary",)}),
    ("hardware, average", {"groups": ("hardware",), "metrics": METRICS}),
    ("hardware, 100 replicas", {"groups": ("hardware",), "metrics": METRICS[:1], "details": True}),
    ("replicas, timeline", {"groups": ("replicas",), "parts": ("timeline",)}),
    ("latency, one replica", {"groups": ("latency",), "replica": "replica-042"}),
    (_PAGE,
     {"groups": ("requests", "pending", "latency", "ttfb"), "parts": ("summary", "replicas", "events")}),
)  # fmt: skip


async def _rolled_up(connection: RollupConnection, filling: Filling) -> None:
    """Roll up the windows, and fill the days before them."""
    started = time.perf_counter()
    await roll_up(connection)
    print(f"rolled up {filling.seconds // 3600} h of windows in {time.perf_counter() - started:.1f} s")
    for table in ("request_minutes", "hardware_minutes"):
        filling.fill_older(table, filling.seconds, MINUTE_DAYS * 86_400 // filling.seconds)
    await asyncio.sleep(SLACK_S)
    await roll_up(connection)
    for table in ("request_hours", "hardware_hours"):
        filling.fill_older(table, MINUTE_DAYS * 86_400, HOUR_DAYS // MINUTE_DAYS)
    filling.fill_newest()
    started = time.perf_counter()
    await roll_up(connection)
    took_ms = (time.perf_counter() - started) * 1e3
    print(f"a look after a minute of {REPLICAS} replicas came: {took_ms:.0f} ms")


async def _measure(config: ClickHouseConfig, filling: Filling) -> list[Figure]:
    """Print the times, and return the worst graph's of 30 days and the page's of an hour."""
    connection = RollupConnection(config)
    await _rolled_up(connection, filling)
    reach = await read_rollup_progress(connection)

    async def levels() -> RollupProgress:
        return reach

    async def raw() -> RollupProgress:
        return RollupProgress(Retention(400, 400, 400), 0, 0)

    by_level = EndpointAnswers(_Reader(connection), levels, Presence(), time.time)
    by_raw = EndpointAnswers(_Reader(connection), raw, Presence(), time.time)
    worst: dict[tuple[str, str], float] = {}
    for length in ("15m", "1h", "6h", "2d", "30d"):
        print(f"-- last {length}")
        for name, what in _QUESTIONS:
            ask = Query("bench", "llm", from_text=f"now-{length}", **what)
            times, size = await _times_ms(partial(by_level.answer, ask))
            line = _line(name, times, size)
            worst[length, name] = times[-1]
            if length == "6h":
                peer, _ = await _times_ms(partial(by_raw.answer, ask))
                middle = len(peer) // 2
                line += f"; raw rows p50 {peer[middle]:7.1f} ms, ratio {peer[middle] / times[middle]:5.1f}"
            print(line, flush=True)
    poll = Query(
        "bench", "llm", "now-15m", step_s=10, groups=("requests", "pending", "latency"), since_text="now-15s"
    )
    print(_line("poll of the newest steps", *await _times_ms(partial(by_level.answer, poll))))
    listed = Overview(_Reader(connection), levels, Presence(), time.time)
    print(_line(f"the list of {LISTED + 1} endpoints", *await _times_ms(partial(listed.endpoints, "bench"))))
    await connection.close()
    shape = f"{REPLICAS} replicas of true traffic; the slowest of {ROUNDS} answers"
    month = max(took_ms for (length, name), took_ms in worst.items() if length == "30d" and name != _PAGE)
    return [Figure(results.MONTH, month, "ms", shape), Figure(results.PAGE, worst["1h", _PAGE], "ms", shape)]


def main() -> list[Figure]:
    """Fill a ClickHouse and print the times."""
    with (
        tempfile.TemporaryDirectory() as directory,
        ClickHouseProcess(Path(directory) / "clickhouse") as database,
    ):
        config = database.config()
        migrate(config)
        client = connect(config, read_timeout_s=600)
        all_known(client)
        started = time.perf_counter()
        filling = Filling(client, REPLICAS, int(time.time()) // 60 * 60 - EPOCHS * EPOCH_S, EPOCHS)
        filling.fill()
        print(f"filled in {time.perf_counter() - started:.0f} s")
        _print_bytes(filling)
        for number in range(LISTED):
            filling.fill_endpoint(f"endpoint-{number}", number * 2, 2, 3)
        figures = asyncio.run(_measure(config, filling))
        client.close()
    return figures


def _print_bytes(filling: Filling) -> None:
    stored = filling.stored_bytes()
    for table, (rows, size) in stored.items():
        print(f"{table:<17} {rows:>9} rows, {size / 1e6:6.3f} MB a day and replica")
    print(f"{'all':<17} {'':>14} {sum(size for _, size in stored.values()) / 1e6:6.3f} MB a day and replica")


if __name__ == "__main__":
    main()
