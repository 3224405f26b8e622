"""Writing the exposition, and whole scrapes.

Rendering: our two renderers compared with prometheus_client's `generate_latest` in the same format, for the same
families: 100 replicas with 8 statuses, two histograms, levels, states and hardware with one GPU each. Scrapes: the real
service on a real ClickHouse holding the same endpoint; the service's own CPU time gives scrapes per second of
a core, whatever the clients cost.
"""

from __future__ import annotations

import http.client
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as peer_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as peer_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from tests.benchmarks.results import OURS, Figure
from tests.pipeline.store.rows import all_known

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.exposition import openmetrics, prometheus_text, protobuf
from endpoint_analytics.pipeline.exposition.families import Histogram, MetricFamily, Sample
from endpoint_analytics.pipeline.exposition.numbers import number_text
from endpoint_analytics.pipeline.serve.scrape.endpoint_families import endpoint_families
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.durations import BUCKET, COUNT, Durations, ReplicaHistograms
from endpoint_analytics.pipeline.store.endpoint_numbers import (
    DurationSummary,
    EndpointMetrics,
    NewestSample,
    ReplicaMetrics,
    RequestTotals,
)
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.read_model import RequestLevels
from endpoint_analytics.pipeline.store.tokens import create_token
from endpoint_analytics.schemas.metrics import HARDWARE_METRICS

REPLICAS = 100
STATUSES = (200, 201, 204, 400, 404, 429, 500, 503)
ROUNDS = 15
_EXPORTED = [metric for metric in HARDWARE_METRICS if metric.family]
_MAIN = "import sys; from endpoint_analytics.infra.command import main; sys.exit(main())"


def endpoint_metrics() -> EndpointMetrics:
    """Return the endpoint to render."""
    hardware = tuple(
        NewestSample(metric.name, "gpu0" if metric.per_device else "", 37.25 * (place + 1))
        for place, metric in enumerate(_EXPORTED)
    )
    replicas = tuple(
        ReplicaMetrics(
            f"replica-{number:03d}-hskoj",
            "running",
            RequestTotals(
                datetime(2026, 1, 1, tzinfo=UTC),
                tuple((status, 1_000_000 + status) for status in STATUSES),
                3,
                1,
                (),
                RequestLevels(4, 2, 150_000),
            ),
            hardware,
        )
        for number in range(REPLICAS)
    )
    summary = DurationSummary(
        ((0.5, 0.0063), (0.9, 0.0075), (0.95, 0.008), (0.99, 0.02)), 800_000_000, 10**12
    )
    return EndpointMetrics(
        replicas, summary, summary, REPLICAS, None, 1, 200, datetime(2026, 1, 2, tzinfo=UTC)
    )


class _Ready(Collector):
    """The same families as prometheus_client objects, created beforehand."""

    def __init__(self, families: tuple[MetricFamily, ...]) -> None:
        self._metrics = [_metric(family) for family in families]

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)


def _metric(family: MetricFamily) -> Metric:
    metric = Metric(family.name, family.help, family.type, family.unit)
    for sample in (*family.samples, *_samples(family.histograms)):
        metric.add_sample(family.name + sample.suffix, dict(sample.labels + sample.own), sample.value)
    return metric


def _samples(histograms: Iterable[Histogram]) -> Iterator[Sample]:
    """Yield what a histogram is in text, a sample a line."""
    for each in histograms:
        bounds, counts = (*map(number_text, each.bounds), "+Inf"), (*each.cumulative, each.count)
        for bound, count in zip(bounds, counts, strict=True):
            yield Sample("_bucket", (*each.labels, ("le", bound)), count)
        yield Sample("_count", each.labels, each.count)
        yield Sample("_sum", each.labels, each.sum)


def _best_us(function: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return sorted(times)[ROUNDS // 2] * 1e6


def _parsed(text: bytes) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def render_benchmark() -> list[Figure]:
    """Print the microseconds per rendering, ours and the peer's, and their ratio."""
    metrics = endpoint_metrics()
    durations = Durations(np.arange(1100, 1250, dtype=BUCKET), np.arange(1000, 1150, dtype=COUNT), 10**12)
    histograms = {
        each.replica_id: ReplicaHistograms(0, {"latency": durations, "ttfb": durations})
        for each in metrics.replicas
    }
    families = endpoint_families(metrics, histograms)
    registry = CollectorRegistry()
    registry.register(_Ready(families))
    assert _parsed(openmetrics.render(families)) == _parsed(peer_openmetrics(registry))
    samples = sum(len(family.samples) + len(list(_samples(family.histograms))) for family in families)
    figures, shape = [], f"{REPLICAS} replicas, {samples:,} samples"
    made_us = _best_us(lambda: endpoint_families(metrics, histograms))
    print(f"families of {REPLICAS} replicas, {samples} samples: made in {made_us:7.0f} us")
    for name, ours, peer in (
        ("OpenMetrics 1.0", lambda: openmetrics.render(families), lambda: peer_openmetrics(registry)),
        ("text 0.0.4", lambda: prometheus_text.render(families), lambda: peer_text(registry)),
    ):
        ours_us, peer_us = _best_us(ours), _best_us(peer)
        print(
            f"render {name:<15} {ours_us:7.0f} us; prometheus_client {peer_us:7.0f} us; "
            f"ratio {peer_us / ours_us:5.1f}"
        )
        figures += [
            Figure(f"rendering {name}", us / 1e3, "ms", shape, who)
            for who, us in ((OURS, ours_us), ("prometheus_client", peer_us))
        ]
    print(f"render protobuf, native    {_best_us(lambda: protobuf.render(families)):7.0f} us")
    return figures


def _fill(client: Client) -> None:
    """Store the endpoint as the worker would: boots of both streams, five minutes of windows, hardware."""
    now = datetime.now(UTC)
    ahead = now + timedelta(hours=1)
    boots, windows, hardware, events = [], [], [], []
    for number in range(REPLICAS):
        who = {
            "namespace": "acme",
            "endpoint": "llm",
            "replica_id": f"replica-{number:03d}-hskoj",
            "boot_id": "b",
        }
        for stream in ("requests", "hardware"):
            boot = {"stream": stream, "version": 1, "last_at": _text(ahead), "last_append": _text(ahead)[:-3]}
            counts = {"status_codes": STATUSES, "status_counts": [10**6] * len(STATUSES), "finished": 10**6}
            boots.append({**who, **boot, **counts, "chunk_time": int(now.timestamp())})
        for window in range(30):
            sketch = {
                "latency_buckets": list(range(400, 600)),
                "latency_counts": [5] * 200,
                "ttfb_buckets": list(range(300, 400)),
                "ttfb_counts": [10] * 100,
            }
            start = int(now.timestamp()) // 10 * 10 - window * 10
            windows.append({**who, "window_start": start, "version": 1, **sketch})
        for metric in _EXPORTED:
            sample = {"metric": metric.name, "device": "gpu0" if metric.per_device else "", "last": 37.25}
            at = {"window_start": int(ahead.timestamp()) // 10 * 10, "last_at": _text(ahead)}
            hardware.append({**who, **sample, **at, "version": 1, "samples": 1, "sum": 37.25})
        events.append(
            {**{k: v for k, v in who.items() if k != "boot_id"}, "at": _text(now), "state": "running"}
        )
    for table, rows in (
        ("boot_states", boots),
        ("request_windows", windows),
        ("hardware_windows", hardware),
        ("replica_events", events),
    ):
        block = "\n".join(json.dumps(row) for row in rows).encode()
        client.raw_insert(table, insert_block=block, fmt="JSONEachRow")


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


def _scrapes(port: int, token: str, count: int) -> list[float]:
    """Scrape on one connection; returns the seconds of each."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {token}"}
    times = []
    for _ in range(count):
        started = time.perf_counter()
        connection.request("GET", "/v2/endpoint/acme/llm/open-metrics", headers=headers)
        response = connection.getresponse()
        body = response.read()
        times.append(time.perf_counter() - started)
        assert response.status == 200, body
    connection.close()
    return times


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _line(name: str, times: list[float]) -> str:
    ordered = sorted(times)
    p50, p99 = ordered[len(ordered) // 2] * 1e3, ordered[int(len(ordered) * 0.99)] * 1e3
    return f"{name:<34} p50 {p50:7.2f} ms, p99 {p99:7.2f} ms"


def scrape_benchmark() -> None:
    """Print a scrape's latency with and without the cache, and scrapes per second of a core."""
    with (
        tempfile.TemporaryDirectory() as directory,
        ClickHouseProcess(Path(directory) / "clickhouse") as database,
    ):
        config = database.config()
        migrate(config)
        client = connect(config)
        all_known(client)
        _fill(client)
        token = create_token(client, "acme", "benchmark", datetime.now(UTC))
        client.close()
        for name, flags in (
            ("scrape, all queries each time", ["--cache", "0"]),
            ("scrape, cache of 1 s", ["--cache", "1"]),
        ):
            words = ["serve", "--port", "0", *flags]
            with (Path(directory) / "serve.log").open("ab") as log:
                service = subprocess.Popen(
                    [sys.executable, "-c", _MAIN, *words],
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=os.environ | database.environment,
                )
            try:
                port = _port(service)
                time.sleep(2)  # the first rollup: histograms are unknown before it
                _scrapes(port, token, 5)
                print(_line(f"{name}, 1 client", _scrapes(port, token, 300)))
                if flags[1] == "1":
                    before_s, started = _cpu_s(service.pid), time.perf_counter()
                    with ThreadPoolExecutor(4) as pool:
                        runs = [pool.submit(_scrapes, port, token, 750) for _ in range(4)]
                    times = list(chain.from_iterable(run.result() for run in runs))
                    used_s, wall_s = _cpu_s(service.pid) - before_s, time.perf_counter() - started
                    print(_line(f"{name}, 4 clients", times))
                    print(
                        f"scrapes a second: {len(times) / used_s:6.0f} a core of the service; "
                        f"{len(times) / wall_s:6.0f} with the clients on the same machine"
                    )
            finally:
                service.terminate()
                service.wait(10)


def _port(service: subprocess.Popen[bytes]) -> int:
    if service.stdout is None:
        raise RuntimeError("the service was started without a pipe")
    with selectors.DefaultSelector() as selector:
        selector.register(service.stdout, selectors.EVENT_READ)
        if not selector.select(30):
            raise RuntimeError("the service did not start")
    return int(service.stdout.readline().decode().rsplit(":", 1)[1])


def main() -> list[Figure]:
    """Print both parts."""
    figures = render_benchmark()
    scrape_benchmark()
    return figures


if __name__ == "__main__":
    main()
