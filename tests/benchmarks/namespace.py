"""Scraping a namespace of 200 endpoints with 10 replicas each at one URL; the peer: 200 scrapes of one endpoint each.

The real service on a real ClickHouse that holds an hour of windows, as the worker stores them: two histograms a
replica, eight statuses, hardware with one GPU. Requests accept gzip, as Prometheus's do.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import tempfile
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.rendering import _EXPORTED, _MAIN, STATUSES, _cpu_s, _line, _port
from tests.pipeline.store.rows import all_known

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.exposition.protobuf import CONTENT_TYPE as PROTOBUF
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.tokens import create_token

ENDPOINTS, REPLICAS_EACH = 200, 10
HOURS = 1
REGULAR, EVERY_S = 12, 5.0
ROUNDS = 10
TEXT = "application/openmetrics-text; version=1.0.0"

_REPLICAS = f"""
(
    SELECT concat('endpoint-', toString(intDiv(number, {REPLICAS_EACH}))) AS endpoint,
        concat('replica-', toString(number), '-hskoj') AS replica
    FROM numbers({ENDPOINTS * REPLICAS_EACH})
) AS r"""
_SKETCH = (
    "arraySort(arrayDistinct(arrayMap(i -> {base} + cityHash64(r.replica, w.number, i) % 160, range(20))))"
)
_FILL = (
    f"""INSERT INTO request_windows (namespace, endpoint, replica_id, boot_id, window_start, version, covered_to_us,
    latency_buckets, latency_counts, latency_sum_us, ttfb_buckets, ttfb_counts, ttfb_sum_us, latency_count, ttfb_count)
    SELECT 'bench', endpoint, replica, 'b', toDateTime({{now_s}} - {{now_s}} % 10 - w.number * 10), 1, 10000000,
    {_SKETCH.format(base=1000)} AS slow, arrayMap(i -> 5, slow), 1000000,
    {_SKETCH.format(base=900)} AS fast, arrayMap(i -> 5, fast), 100000, 5 * length(slow), 5 * length(fast)
    FROM {_REPLICAS} CROSS JOIN numbers({{from}}, 360) AS w""",
    f"""INSERT INTO hardware_windows (namespace, endpoint, replica_id, boot_id, device, metric, window_start,
    version, samples, sum, last, last_at) SELECT 'bench', endpoint, replica, 'b', device.2, device.1,
    toDateTime({{now_s}} - {{now_s}} % 10 - w.number * 10 + 3600) AS at, 1, 10, 372.5, 37.25, at + 9
    FROM {_REPLICAS} CROSS JOIN numbers(20) AS w
    ARRAY JOIN {[(metric.name, "gpu0" if metric.per_device else "") for metric in _EXPORTED]} AS device""",
)
_BOOTS = (
    f"""INSERT INTO boot_states (stream, namespace, endpoint, replica_id, boot_id, version, chunk_time, first_at,
    last_at, last_append, status_codes, status_counts, finished)
    SELECT stream, 'bench', endpoint, replica, 'b', 1, {{now_s}}, now64(6) - INTERVAL {HOURS} HOUR,
        toDateTime({{now_s}} + 3600), now64(3) + INTERVAL 1 HOUR, {list(STATUSES)}, {[10**6] * len(STATUSES)}, 1000000
    FROM {_REPLICAS} ARRAY JOIN ['requests', 'hardware'] AS stream""",
    f"""INSERT INTO replica_events (namespace, endpoint, replica_id, at, state)
    SELECT 'bench', endpoint, replica, now64(6) - INTERVAL 1 HOUR, 'running' FROM {_REPLICAS}""",
)


def _fill(client: Client) -> None:
    now_s = str(int(time.time()))
    for hour in range(HOURS):
        for statement in _FILL:
            client.command(statement.replace("{now_s}", now_s).replace("{from}", str(hour * 360)))
    for statement in _BOOTS:
        client.command(statement.replace("{now_s}", now_s))


def _get(connection: http.client.HTTPConnection, path: str, token: str, accept: str) -> bytes:
    headers = {"Authorization": f"Bearer {token}", "Accept": accept, "Accept-Encoding": "gzip"}
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status} {body[:200]!r}")
    return body


def main() -> None:
    """Print the latency of a scrape of all endpoints, at once and one by one, and the service's CPU time."""
    with (
        tempfile.TemporaryDirectory() as directory,
        ClickHouseProcess(Path(directory) / "clickhouse") as database,
    ):
        config = database.config()
        migrate(config)
        client = connect(config)
        all_known(client)
        _fill(client)
        token = create_token(client, "bench", "benchmark", datetime.now(UTC))
        with (Path(directory) / "serve.log").open("ab") as log:
            service = subprocess.Popen(
                [sys.executable, "-c", _MAIN, "serve", "--port", "0", "--cache", "0"],
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | database.environment,
            )
        try:
            _measure(service, _port(service), token, client)
        finally:
            service.terminate()
            service.wait(10)
            client.close()


def _measure(service: subprocess.Popen[bytes], port: int, token: str, client: Client) -> None:
    while not client.query("SELECT count() FROM request_hours").result_rows[0][0]:
        time.sleep(1)  # the first rollup: histograms are unknown before it
    time.sleep(5)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    started = time.perf_counter()
    while b"latency_seconds" not in _plain(_get(connection, "/v2/endpoint/bench/open-metrics", token, TEXT)):
        pass
    print(f"first scrape of all with histograms, {HOURS} h stored: {time.perf_counter() - started:5.2f} s")
    for name, path, accept in (
        ("all, OpenMetrics", "/v2/endpoint/bench/open-metrics", TEXT),
        ("all, protobuf", "/v2/endpoint/bench/open-metrics", PROTOBUF),
        (
            "all, two families",
            "/v2/endpoint/bench/open-metrics?name[]=http_requests&name[]=running_replicas",
            TEXT,
        ),
        (
            "all, requests, latency, states",
            (
                "/v2/endpoint/bench/open-metrics?name[]=http_requests&name[]=latency_seconds&name[]=pending_requests"
                "&name[]=replica_state&name[]=running_replicas"
            ),
            TEXT,
        ),
        ("all, no replicas", "/v2/endpoint/bench/open-metrics?replica_id[]=", TEXT),
    ):
        times, before_s, size = [], _cpu_s(service.pid), 0
        for _ in range(ROUNDS):
            started = time.perf_counter()
            size = len(_get(connection, path, token, accept))
            times.append(time.perf_counter() - started)
        used_s = (_cpu_s(service.pid) - before_s) / ROUNDS
        print(f"{_line(name, times)}, {used_s * 1e3:6.0f} ms CPU of the service, {size / 1e6:5.2f} MB")
    _measure_regular(service, connection, token)
    started, before_s = time.perf_counter(), _cpu_s(service.pid)
    for number in range(ENDPOINTS):
        _get(connection, f"/v2/endpoint/bench/endpoint-{number}/open-metrics", token, TEXT)
    print(
        f"peer: {ENDPOINTS} scrapes, one endpoint each: {time.perf_counter() - started:5.2f} s, "
        f"{(_cpu_s(service.pid) - before_s) * 1e3:6.0f} ms CPU of the service"
    )
    connection.close()


def _measure_regular(
    service: subprocess.Popen[bytes], connection: http.client.HTTPConnection, token: str
) -> None:
    """Print how long a scraper waits that comes every EVERY_S, from its fourth visit on."""
    begun_s, before_s, times = time.monotonic(), _cpu_s(service.pid), []
    for number in range(REGULAR):
        time.sleep(max(0.0, begun_s + number * EVERY_S - time.monotonic()))
        started = time.perf_counter()
        _get(connection, "/v2/endpoint/bench/open-metrics", token, TEXT)
        times.append(time.perf_counter() - started)
    used_s = (_cpu_s(service.pid) - before_s) / REGULAR
    name = f"all, OpenMetrics, every {EVERY_S:g} s"
    print(f"{_line(name, times[3:])}, {used_s * 1e3:6.0f} ms CPU of the service")


def _plain(body: bytes) -> bytes:
    return zlib.decompress(body, 31) if body[:2] == b"\x1f\x8b" else body


if __name__ == "__main__":
    main()
