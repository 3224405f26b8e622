"""The WSGI middleware's cost per request, compared with prometheus_client, in one run on one core.

Both wrap the same bare WSGI applications (one small JSON response in a list; a generator of PIECES pieces like tokens),
driven in this process as by a server: iterate, close. The agent's thread runs and flushes each second; its Kafka is a
port that refuses connections. Rounds are interleaved and medians reported. prometheus_client has no WSGI middleware, so
the peer is a minimal one: an in-progress gauge, a counter by status and a histogram around the call.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from tests.benchmarks.results import OURS, Figure

from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig
from endpoint_analytics.agents.middleware.wsgi import WSGIAnalyticsMiddleware

REQUESTS, ROUNDS, PIECES = 2_000, 25, 200
App = Callable[..., Iterable[bytes]]


def bare(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Respond, as every framework eventually does."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "15")])
    return [b'{"label":"cat"}']


def streamed(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Respond in pieces."""
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    for _ in range(PIECES):
        yield b"data: cat\n\n"


def by_prometheus_client(app: App) -> App:
    """Count and time calls with the client library."""
    registry = CollectorRegistry()
    active = Gauge("active", "Active", registry=registry)
    requests = Counter("requests", "Requests", ["status"], registry=registry)
    latency = Histogram("latency", "Latency", registry=registry)

    def watched(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen = ["500"]

        def started(status: str, headers: Any, exc_info: Any = None) -> Any:
            seen[0] = status[:3]
            return start_response(status, headers, exc_info)

        active.inc()
        try:
            with latency.time():
                return app(environ, started)
        finally:
            active.dec()
            requests.labels(seen[0]).inc()

    return watched


def microseconds(app: App, requests: int) -> float:
    """Return the time per request of one round."""
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}

    def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
        return None

    gc.collect()
    begin_ns = time.perf_counter_ns()
    for _ in range(requests):
        body = app(environ, start_response)
        for _piece in body:
            pass
        close = getattr(body, "close", None)
        if close is not None:
            close()
    return (time.perf_counter_ns() - begin_ns) / requests / 1_000


def main() -> list[Figure]:
    """Print the medians of both shapes."""
    return [
        *print_shape("one piece", bare, REQUESTS),
        *print_shape(f"{PIECES} pieces", streamed, REQUESTS // 10),
    ]


def print_shape(shape: str, app: App, requests: int) -> list[Figure]:
    """Print and return the medians above the bare application's."""
    config = AgentConfig(
        namespace="bench",
        endpoint="wsgi",
        replica_id="replica-1",
        kafka=KafkaConfig(bootstrap_servers="127.0.0.1:1"),
        recorder_limit=10_000_000,
        stop_timeout_s=0.0,
    )
    middleware = WSGIAnalyticsMiddleware(app, config=config)
    apps: dict[str, App] = {
        "bare": app,
        OURS: middleware,
        "prometheus_client by hand": by_prometheus_client(app),
    }
    rounds: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(ROUNDS):
        for name, wrapped in apps.items():
            rounds[name].append(microseconds(wrapped, requests))
    base = statistics.median(rounds["bare"])
    print(f"wsgi: an answer of {shape}")
    for name, found in rounds.items():
        print(
            f"  {name:<28} {statistics.median(found):6.2f} us a request, {statistics.median(found) - base:+.2f}"
        )
    assert middleware.process is not None
    agent = middleware.process.agent
    assert agent is not None
    agent.stop()
    return [
        Figure(
            f"WSGI middleware, an answer of {shape}: adds",
            statistics.median(found) - base,
            "us",
            f"an answer of {shape}, driven in process",
            name,
        )
        for name, found in rounds.items()
        if name != "bare"
    ]


if __name__ == "__main__":
    main()
