"""The middleware's cost per request, compared with two well-known ones, in one run on one core.

Each middleware wraps the same bare ASGI applications (one start and one body, like a small JSON response; one start and
PIECES pieces, like tokens), driven in this process by `receive` and `send` that are methods of one object per request,
as in uvicorn: so only the middleware is measured, not sockets or routing. Rounds are interleaved and medians reported.

- endpoint-analytics: the agent's thread runs and flushes each second; its Kafka is a port that refuses connections, so
  batches are encoded, queued and kept, and retries continue alongside. Also with uvicorn's own RequestResponseCycle, so
  that checks of the client's presence are included.
- prometheus-fastapi-instrumentator: its ASGI middleware as `Instrumentator().instrument(app)` adds it to a
  FastAPI application with that one route (it reads the application's routes to name the handler).
- prometheus_client by hand: the least that counts and times: a gauge, a counter by status and a histogram around the
  call, and a `send` that notes the status. The cheapest peer; it knows neither the first byte nor a client that left.
- OpenTelemetry: OpenTelemetryMiddleware with an SDK MeterProvider and an in-memory reader; no tracing.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import NoOpTracerProvider
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_fastapi_instrumentator import Instrumentator
from tests.benchmarks.results import OURS, PLAIN, STREAMED, Figure
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig
from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware

REQUESTS, ROUNDS, PIECES = 2_000, 25, 200
PEERS = ("prometheus_client by hand", "prometheus-fastapi-instrumentator", "OpenTelemetry ASGI, metrics only")

Message = MutableMapping[str, Any]
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"15")],
}
BODY = {"type": "http.response.body", "body": b'{"label":"cat"}'}


async def bare(scope: Message, receive: Any, send: Any) -> None:
    """Read the body and respond, as every framework eventually does."""
    await receive()
    await send(START)
    await send(BODY)


# Not a stream of events, which the middleware would read: benchmarks/outcome has what that costs.
STREAM = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
PIECE = {"type": "http.response.body", "body": b"data: cat\n\n", "more_body": True}
END = {"type": "http.response.body", "body": b""}


async def streamed(scope: Message, receive: Any, send: Any) -> None:
    """Read the body and respond in pieces."""
    await receive()
    await send(STREAM)
    for _ in range(PIECES):
        await send(PIECE)
    await send(END)


class ByHand:
    """Counts and times requests with prometheus_client."""

    def __init__(self, app: Any) -> None:
        registry = CollectorRegistry()
        self._app = app
        self._active = Gauge("active", "Active", registry=registry)
        self._requests = Counter("requests", "Requests", ["status"], registry=registry)
        self._latency = Histogram("latency", "Latency", registry=registry)

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._active.inc()
        try:
            with self._latency.time():
                await self._app(scope, receive, noting)
        finally:
            self._active.dec()
            self._requests.labels(status).inc()


class Connection:
    """A server's end of one request, without a socket."""

    def __init__(self) -> None:
        self.request = {"type": "http.request", "body": b'{"image":"..."}', "more_body": False}

    async def receive(self) -> Message:
        return self.request

    async def send(self, message: Message) -> None:
        return None


class Transport:
    """An open transport, as far as uvicorn's cycle uses it."""

    def is_closing(self) -> bool:
        return False


class Cycle(RequestResponseCycle):
    """uvicorn's end of one request, without its reading and writing."""

    def __init__(self) -> None:
        self.disconnected = False
        self.transport = Transport()  # type: ignore[assignment]
        self.request = {"type": "http.request", "body": b'{"image":"..."}', "more_body": False}

    async def receive(self) -> Message:  # type: ignore[override]
        return self.request

    async def send(self, message: Message) -> None:  # type: ignore[override]
        return None


Cycle.__name__, Cycle.__module__ = RequestResponseCycle.__name__, RequestResponseCycle.__module__


def make_scope(app: FastAPI) -> Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict",
        "raw_path": b"/predict",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
        "app": app,
    }


async def microseconds(app: Any, connection: Callable[[], Any], fastapi: FastAPI, requests: int) -> float:
    """Return the microseconds per request, over some requests in a row."""
    start_ns = time.perf_counter_ns()
    for _ in range(requests):
        end = connection()
        await app(make_scope(fastapi), end.receive, end.send)
    return (time.perf_counter_ns() - start_ns) / requests / 1_000


async def measure(bare: Any, requests: int) -> dict[str, list[float]]:
    fastapi = FastAPI()

    @fastapi.post("/predict")
    async def predict() -> None:
        """Only to be named by the instrumentator."""

    Instrumentator(registry=CollectorRegistry()).instrument(fastapi)
    (instrumentator,) = fastapi.user_middleware
    ours = AnalyticsMiddleware(
        bare,
        config=AgentConfig(
            namespace="acme",
            endpoint="classifier",
            replica_id="replica-1",
            kafka=KafkaConfig(bootstrap_servers="127.0.0.1:1"),
            recorder_limit=1_000_000,  # far busier than any server: nothing may be left out of the cost
        ),
    )
    provider = MeterProvider(metric_readers=[InMemoryMetricReader()])
    contenders: dict[str, tuple[Any, Callable[[], Any]]] = {
        "bare application": (bare, Connection),
        "endpoint-analytics": (ours, Connection),
        "endpoint-analytics, uvicorn's cycle": (ours, Cycle),
        "prometheus_client by hand": (ByHand(bare), Connection),
        "prometheus-fastapi-instrumentator": (
            instrumentator.cls(bare, *instrumentator.args, **instrumentator.kwargs),
            Connection,
        ),
        "OpenTelemetry ASGI, metrics only": (
            OpenTelemetryMiddleware(bare, meter_provider=provider, tracer_provider=NoOpTracerProvider()),
            Connection,
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(ROUNDS + 1):
        for name, (app, connection) in contenders.items():
            gc.collect()
            cost = await microseconds(app, connection, fastapi, requests)
            if round_number:  # the first one warms up
                taken[name].append(cost)
    assert ours.agent is not None
    ours.agent.stop(timeout_s=0)
    totals = ours.agent.snapshot().totals
    assert totals.finished == 2 * requests * (ROUNDS + 1), totals
    provider.shutdown()
    return taken


def main() -> list[Figure]:
    """Print the table."""
    return [
        *print_shape(PLAIN, "one piece", bare, REQUESTS),
        *print_shape(STREAMED, f"{PIECES} pieces", streamed, REQUESTS // 10),
    ]


def print_shape(figure: str, shape: str, app: Any, requests: int) -> list[Figure]:
    """Measure, and print and return what each middleware adds."""
    taken = asyncio.run(measure(app, requests))
    medians = {name: statistics.median(costs) for name, costs in taken.items()}
    base = medians["bare application"]
    print(
        f"middleware: microseconds for an answer of {shape}, median of {ROUNDS} interleaved rounds of {requests}"
    )
    print(f"  {'':<38}{'total':>8}{'added':>8}{'of bare':>9}")
    for name, median in medians.items():
        print(f"  {name:<38}{median:>8.2f}{median - base:>8.2f}{median / base:>8.1f}x")
    added = medians["endpoint-analytics, uvicorn's cycle"] - base
    for peer in PEERS:
        print(f"  {peer} adds {(medians[peer] - base) / added:.1f} times what endpoint-analytics adds")
    # Of our two, the one in uvicorn's cycle: what users have.
    shown = {"endpoint-analytics, uvicorn's cycle": OURS} | {peer: peer for peer in PEERS}
    return [
        Figure(figure, medians[name] - base, "us", f"an answer of {shape}, driven in process", who)
        for name, who in shown.items()
    ]


if __name__ == "__main__":
    main()
