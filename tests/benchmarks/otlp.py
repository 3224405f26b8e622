"""The cost of a span in the OTLP receiver, from a body to encoded batches, beside what decoding alone costs.

`python -m tests.benchmarks.otlp`. Bodies are those of an SDK: 512 spans with ten attributes each. The peer is the
access log reader's parser with the same batches: a line instead of a span.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.agents.log.lines import nginx_line
from tests.agents.otlp.exports import NAMES, export, server_span
from tests.benchmarks.results import Figure

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.log.batching import ReaderState, next_batch
from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.agents.log.text_lines import parse_nginx
from endpoint_analytics.agents.otlp.compression import plain_body
from endpoint_analytics.agents.otlp.decoding import PROTOBUF, open_export
from endpoint_analytics.agents.otlp.identity import Fixed
from endpoint_analytics.agents.otlp.intake import Intake
from endpoint_analytics.agents.otlp.memory import Memory
from endpoint_analytics.agents.otlp.reading import Reading, read_export
from endpoint_analytics.agents.otlp.replicas import Replicas
from endpoint_analytics.agents.otlp.roster import Roster
from endpoint_analytics.schemas.codec import encode_requests

SPANS, EXPORTS = 512, 100
MAX_BYTES = 16 * 1024 * 1024
ATTRIBUTES: dict[str, str | int | bool] = {
    "http.request.method": "POST",
    "http.response.status_code": 200,
    "http.route": "/v1/chat/completions",
    "url.path": "/v1/chat/completions",
    "url.scheme": "http",
    "server.address": "model.example.com",
    "server.port": 8000,
    "client.address": "10.1.2.3",
    "network.protocol.version": "1.1",
    "user_agent.original": "OpenAI/Python 1.99.1",
}


def per_s(number: int, work: Callable[[], object]) -> float:
    """Return how many of the `number` things that `work` does are done in a second of one core."""
    begun = time.process_time()
    work()
    return number / (time.process_time() - begun)


def receive(bodies: Sequence[bytes], encoding: str, now_us: int) -> None:
    """Do what the receiver does with the bodies, except for HTTP and Kafka."""
    memory, replicas = Memory(400_000), Replicas(900_000_000)
    intake = Intake(memory, Roster(10_000, 10_000))
    for body in bodies:
        received = intake.take(read(body, encoding, now_us))
        for replica, part in received.parts.items():
            replicas.batches(replica, part.requests, now_us)
            memory.settle(part)


def read(body: bytes, encoding: str, now_us: int) -> Reading:
    """Read an export without the pauses between the steps."""
    export_ = open_export(plain_body(body, encoding, MAX_BYTES), PROTOBUF)
    steps = read_export(export_, Fixed(), frozenset(), now_us)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            reading: Reading = end.value
            return reading


def read_lines(lines: Sequence[str], now_us: int) -> None:
    """Do what the log reader does with the lines, except for files and Kafka."""
    config = AgentConfig(namespace="acme", endpoint="shop", replica_id="r1")
    state = ReaderState("boot")
    for first in range(0, len(lines), SPANS):
        parsed = [parse_nginx(line) for line in lines[first : first + SPANS]]
        requests = [each for each in parsed if isinstance(each, Logged)]
        batch, state = next_batch(config, state, requests, {}, now_us)
        encode_requests(batch, "packed")


def main() -> list[Figure]:
    """Print the rates."""
    now_us = time.time_ns() // 1_000
    bodies = [
        export(
            *(server_span(number * SPANS + each, ATTRIBUTES, end_us=now_us - each) for each in range(SPANS)),
            names=NAMES | {"service.instance.id": f"r{number % 4}"},
        ).SerializeToString()
        for number in range(1, EXPORTS + 1)
    ]
    spans = SPANS * EXPORTS
    packed = [gzip.compress(body, compresslevel=1) for body in bodies]
    lines = [nginx_line(now_us / 1e6, 200, 0.25) for _ in range(spans)]
    print(f"a span of {len(bodies[0]) / SPANS:.0f} bytes, {SPANS} in a body", flush=True)
    ours = per_s(spans, lambda: receive(bodies, "", now_us))
    print(f"from a body to batches: {ours:,.0f} spans/s")
    print(f"the same, gzipped: {per_s(spans, lambda: receive(packed, 'gzip', now_us)):,.0f} spans/s")
    decoded = per_s(spans, lambda: [ExportTraceServiceRequest.FromString(body) for body in bodies])
    print(f"protobuf's decoding alone: {decoded:,.0f} spans/s")
    print(
        f"agent log, nginx's lines: {per_s(spans, lambda: read_lines(lines, now_us)):,.0f} lines/s",
        flush=True,
    )
    name, unit, shape = "agent otlp, spans counted", "spans/s a core", f"{SPANS} spans in a body, no gzip"
    return [
        Figure(name, ours, unit, shape),
        Figure(name, decoded, unit, shape, "protobuf's decoding alone"),
    ]


if __name__ == "__main__":
    main()
