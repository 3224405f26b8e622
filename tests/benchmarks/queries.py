"""Long ranges: an endpoint of 100 replicas, each series over growing ranges, from the levels and from raw rows.

ClickHouse is filled by SQL: 6 h of 10 s windows, which are then rolled up; minutes for the 2 days and hours for the 30
days before. The peer is the same query answered only from 10 s rows, where they exist: 6 h; 30 days would have 120
times as many. Times are of whole answers in process: queries, rows, JSON.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.pipeline.store.rows import all_known

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.serve.api.endpoint_answers import EndpointAnswers
from endpoint_analytics.pipeline.serve.api.models import encode
from endpoint_analytics.pipeline.serve.api.query import Query
from endpoint_analytics.pipeline.serve.api.rollup_loop import RollupConnection
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.rollup import SLACK_S, read_rollup_progress, roll_up
from endpoint_analytics.pipeline.store.rollup_levels import Retention, RollupProgress
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig

REPLICAS = 100
RAW_HOURS, MINUTE_DAYS, HOUR_DAYS = 6, 2, 30
BUCKETS = 60
ROUNDS = 15
METRICS = ("cpu_percent", "memory_used_bytes", "gpu_percent", "gpu_memory_used_bytes")
_SKETCH = "arrayMap(i -> toUInt16(400 + i + number % 20), range({buckets}))"

# `of`: how many 10 s windows of how many replicas a row covers.
_REQUESTS = """
INSERT INTO {table} (namespace, endpoint, replica_id, {boot} window_start, version, arrived, finished,
    status_codes, status_counts, {covered} pending_request_us, pending_max, pending_last, latency_count,
    latency_sum_us, latency_max_us, latency_buckets, latency_counts, ttfb_count, ttfb_sum_us, ttfb_max_us,
    ttfb_buckets, ttfb_counts)
SELECT 'bench', 'llm', {replica}, {boot_value} toDateTime({from_s} + intDiv(number, {replicas}) * {seconds}, 'UTC'), 1,
    200 * {of}, 200 * {of}, [200, 404, 500], [196 * {of}, 3 * {of}, 1 * {of}], {covered_value}
    20000000 * {of}, 9, 2, 200 * {of}, 10000000 * {of}, 400000, {sketch} AS buckets,
    arrayMap(i -> toUInt64((1 + (i * 7 + number) % 6) * {of}), range({buckets})),
    200 * {of}, 3000000 * {of}, 90000, buckets,
    arrayMap(i -> toUInt64((1 + (i * 5 + number) % 6) * {of}), range({buckets}))
FROM numbers({rows})
"""
_HARDWARE = """
INSERT INTO {table} (namespace, endpoint, replica_id, {boot} device, metric, window_start, version, samples, sum,
    min, max {windows})
SELECT 'bench', 'llm', {replica}, {boot_value} '', arrayJoin({metrics}),
    toDateTime({from_s} + intDiv(number, {replicas}) * {seconds}, 'UTC'), 1, 10 * {of}, 500. * {of}, 0, 100
    {windows_value}
FROM numbers({rows})
"""
_REPLICA = f"concat('replica-', leftPad(toString(number % {REPLICAS}), 3, '0'))"


def _fill_level(client: Client, level: str, seconds: int, from_s: int, to_s: int, whole: bool) -> None:
    """Fill a level's tables; `whole`: the rows of the whole endpoint instead of its replicas'."""
    replicas = 1 if whole else REPLICAS
    raw = level == "windows"
    values = {
        "replica": "''" if whole else _REPLICA,
        "boot": "boot_id," if raw else "",
        "boot_value": "'b'," if raw else "",
        "from_s": from_s,
        "seconds": seconds,
        "replicas": replicas,
        "rows": (to_s - from_s) // seconds * replicas,
        "of": seconds // 10 * (REPLICAS if whole else 1),
        "buckets": BUCKETS,
        "sketch": _SKETCH.format(buckets=BUCKETS),
        "metrics": list(METRICS),
        "windows": "" if raw else ", windows",
        "windows_value": "" if raw else f", {seconds // 10 * (REPLICAS if whole else 1)}",
        "covered": "covered_to_us," if raw else "covered_us,",
        "covered_value": f"{seconds * 1_000_000},",
    }
    client.command(_REQUESTS.format(table=f"request_{level}", **values))
    client.command(_HARDWARE.format(table=f"hardware_{level}", **values))


def fill(client: Client, now_s: int) -> None:
    """Fill all levels, and the boots that make the endpoint known."""
    raw_from = (now_s - RAW_HOURS * 3600) // 3600 * 3600
    minutes_from = raw_from - MINUTE_DAYS * 86_400
    _fill_level(client, "windows", 10, raw_from, now_s // 10 * 10, False)
    for whole in (False, True):
        _fill_level(client, "minutes", 60, minutes_from, raw_from, whole)
        _fill_level(client, "hours", 3600, raw_from - HOUR_DAYS * 86_400, raw_from, whole)
    client.command(
        "INSERT INTO boot_states (stream, namespace, endpoint, replica_id, boot_id, version, chunk_time, first_at,"
        " last_at, last_append) SELECT arrayJoin(['requests', 'hardware']), 'bench', 'llm',"
        f" {_REPLICA}, 'b', 1, now(), now64(6) - INTERVAL 30 DAY, now64(6), now64(3) FROM numbers({REPLICAS})"
    )


class _Reader:
    """Counts the rows that ClickHouse returns."""

    def __init__(self, connection: RollupConnection) -> None:
        self._connection = connection

    async def read(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return await self._connection.read(sql, parameters)


async def _times_ms(figures: EndpointAnswers, ask: Query) -> tuple[list[float], int]:
    times, size = [], 0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        answer = await figures.answer(ask)
        size = len(encode(answer)) if answer else 0
        times.append((time.perf_counter() - started) * 1e3)
    return sorted(times), size


def _line(name: str, times: list[float], size: int) -> str:
    return f"{name:<58} p50 {times[len(times) // 2]:7.1f} ms, p99 {times[-1]:7.1f} ms, {size / 1024:7.1f} KiB"


_QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("requests", {"groups": ("requests",)}),
    ("pending", {"groups": ("pending",)}),
    ("latency", {"groups": ("latency",)}),
    ("summary", {"parts": ("summary",)}),
    ("hardware, average", {"groups": ("hardware",), "metrics": METRICS}),
    ("hardware, 100 replicas", {"groups": ("hardware",), "metrics": METRICS[:1], "details": True}),
    ("replicas, timeline", {"groups": ("replicas",), "parts": ("timeline",)}),
    ("the page: requests, pending, latency, ttfb, summary",
     {"groups": ("requests", "pending", "latency", "ttfb"), "parts": ("summary",)}),
)  # fmt: skip


async def _measure(config: ClickHouseConfig, client: Client) -> None:
    connection = RollupConnection(config)
    started = time.perf_counter()
    await roll_up(connection)
    print(f"rolled up {RAW_HOURS} h of {REPLICAS} replicas in {time.perf_counter() - started:.1f} s")
    await asyncio.sleep(SLACK_S)
    await roll_up(connection)
    minute = int(time.time()) // 60 * 60 - 120
    _fill_level(client, "windows", 10, minute, minute + 60, False)
    started = time.perf_counter()
    await roll_up(connection)
    print(
        f"a look after a minute of {REPLICAS} replicas came: {(time.perf_counter() - started) * 1e3:.0f} ms"
    )
    reach = await read_rollup_progress(connection)

    async def levels() -> RollupProgress:
        return reach

    async def raw() -> RollupProgress:
        return RollupProgress(Retention(400, 400, 400), 0, 0)

    by_level = EndpointAnswers(_Reader(connection), levels, Presence(), time.time)
    by_raw = EndpointAnswers(_Reader(connection), raw, Presence(), time.time)
    for length in ("15m", "1h", "6h", "2d", "30d"):
        print(f"-- last {length}")
        for name, what in _QUESTIONS:
            ask = Query("bench", "llm", from_text=f"now-{length}", **what)
            times, size = await _times_ms(by_level, ask)
            line = _line(name, times, size)
            if length == "6h":
                peer, _ = await _times_ms(by_raw, ask)
                middle = len(peer) // 2
                line += f"; raw rows p50 {peer[middle]:7.1f} ms, ratio {peer[middle] / times[middle]:5.1f}"
            print(line, flush=True)
        if length in ("6h", "30d"):
            ask = Query("bench", "llm", from_text=f"now-{length}", replica="replica-042", groups=("latency",))
            print(_line("latency, one replica", *await _times_ms(by_level, ask)), flush=True)
    poll = Query(
        "bench", "llm", "now-15m", step_s=10, groups=("requests", "pending", "latency"), since_text="now-15s"
    )
    print(_line("poll of the newest steps", *await _times_ms(by_level, poll)))
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
        started = time.perf_counter()
        fill(client, int(time.time()))
        rows = client.query(
            "SELECT table, sum(rows), formatReadableSize(sum(bytes_on_disk)) FROM system.parts"
            " WHERE database = currentDatabase() AND active GROUP BY table HAVING sum(rows) > 1000 ORDER BY table"
        ).result_rows
        client.close()
        print(
            f"filled in {time.perf_counter() - started:.0f} s: {', '.join(f'{t} {n} rows {s}' for t, n, s in rows)}"
        )
        asyncio.run(_measure(config, client))
        client.close()


if __name__ == "__main__":
    main()
