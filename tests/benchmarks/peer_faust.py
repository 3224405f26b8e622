"""A peer of the live benchmark: a Faust table, its changed windows inserted once a second into a ReplacingMergeTree.

As its users write it: one step of a table for each request. Faust sends each change to the table's changelog at once
and commits offsets every few seconds, so what lies between is added twice after a crash.
"""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import faust

TABLE = """
CREATE TABLE faust_windows (
    endpoint LowCardinality(String), replica_id String, window DateTime, version UInt64, requests UInt64,
    latency_sum_us UInt64, statuses Map(UInt16, UInt64), latency Map(UInt16, UInt64), ttfb Map(UInt16, UInt64)
) ENGINE = ReplacingMergeTree(version) PARTITION BY toDate(window) ORDER BY (endpoint, replica_id, window)
"""
COLUMNS = (
    "endpoint", "replica_id", "window", "version", "requests", "latency_sum_us", "statuses", "latency", "ttfb",
)  # fmt: skip
STORED = "SELECT replica_id, sum(requests) FROM faust_windows FINAL GROUP BY replica_id"
KEPT_S = 120
SCALE = 64 / math.log(2)  # a relative error of 0.54 %, as ours
READY = os.dup(1)  # Faust redirects sys.stdout into its log


def main(brokers: str, topic_name: str, data: str) -> None:
    """Consume until the process is ended."""
    url = urlsplit(os.environ["ENDPOINT_ANALYTICS_CLICKHOUSE_URL"])
    client = clickhouse_connect.get_client(
        host=url.hostname,
        port=url.port,
        password=os.environ["ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD"],
        database="endpoint_analytics",
    )
    app = faust.App(
        "faust-windows",
        broker=f"kafka://{brokers}",
        datadir=data,
        store="memory://",
        web_enabled=False,
        topic_partitions=8,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id="faust-1",
    )
    topic = app.topic(topic_name, value_serializer="json", key_serializer="raw")
    windows = app.Table("windows", partitions=8)
    changed: set[str] = set()

    @app.agent(topic)
    async def count(stream: faust.StreamT[Any]) -> None:
        async for request in stream:
            key = f"{request['endpoint']} {request['replica_id']} {request['at_ms'] // 10_000 * 10}"
            window = windows.get(key) or {"n": 0, "sum": 0, "statuses": {}, "latency": {}, "ttfb": {}}
            window["n"] += 1
            window["sum"] += request["latency_us"]
            for name, value in (
                ("statuses", request["status"]),
                ("latency", math.ceil(math.log(request["latency_us"]) * SCALE)),
                ("ttfb", math.ceil(math.log(request["ttfb_us"]) * SCALE)),
            ):
                counts, of = window[name], str(value)
                counts[of] = counts.get(of, 0) + 1
            windows[key] = window
            changed.add(key)

    @app.task  # type: ignore[untyped-decorator]
    async def write_again() -> None:
        changed.update(windows.keys())  # what was changed, and perhaps not written, before a crash

    @app.timer(1.0)  # type: ignore[untyped-decorator]
    async def write() -> None:
        version, rows = time.time_ns(), []
        for key in changed:
            endpoint, replica, start = key.split()
            window = windows[key]
            maps = (
                {int(of): n for of, n in window[name].items()} for name in ("statuses", "latency", "ttfb")
            )
            rows.append((endpoint, replica, int(start), version, window["n"], window["sum"], *maps))
        if rows:
            client.insert("faust_windows", rows, column_names=COLUMNS)
            changed.clear()
        oldest_s = time.time() - KEPT_S
        for key in [key for key in windows if int(key.rsplit(" ", 1)[1]) < oldest_s]:
            windows.pop(key)

    os.write(READY, b"ready\n")
    faust.Worker(app, loglevel="ERROR").execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
