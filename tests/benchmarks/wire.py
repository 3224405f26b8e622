"""What a replica writes to Kafka: bytes a request at 20 and at 3 requests a message, and bytes a second when idle.

Real middlewares with default settings send to a real Kafka; what counts is the messages, and how much Kafka's log
grows: messages, keys, and the framing of record batches. Requests take times with a long tail and end with six
statuses.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.benchmarks.live import STATUSES
from tests.benchmarks.results import WIRE_3, WIRE_20, WIRE_IDLE, Figure

from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig
from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware
from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.schemas.topics import HARDWARE, REQUESTS, TOPIC_CONFIG, TOPICS

RATES = (0, 3, 20)  # requests a second, and so a message
SETTLE_S, MEASURE_S = 5.0, 30.0

Message = MutableMapping[str, Any]


class Application:
    """Takes as long as it is told, and answers in one piece."""

    def __init__(self) -> None:
        self._rng = random.Random(1)

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        await asyncio.sleep(min(2.0, self._rng.lognormvariate(-2.5, 1)))
        (status,) = self._rng.choices([code for code, _ in STATUSES], [share for _, share in STATUSES])
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


def main() -> list[Figure]:
    """Print the bytes at each rate."""
    with tempfile.TemporaryDirectory() as directory, KafkaProcess(Path(directory) / "kafka") as kafka:
        found = asyncio.run(measure(kafka.bootstrap_servers, Path(directory) / "kafka"))
    figures = []
    names = {0: WIRE_IDLE, 3: WIRE_3, 20: WIRE_20}
    for rate, (message_bytes, requests_bytes, hardware_bytes) in found.items():
        print(
            f"{rate:>3} requests/s: a message of {message_bytes:4.0f} bytes; in Kafka's log {requests_bytes:4.0f} "
            f"bytes/s, and {hardware_bytes:4.0f} of hardware"
            + (
                f"; a request {message_bytes / rate:6.1f} bytes, {requests_bytes / rate:6.1f} in the log"
                if rate
                else ""
            )
        )
        unit, shape = (
            ("bytes", "one middleware, a message a second") if rate else ("bytes/s", "no request yet")
        )
        for where, size in (
            ("its messages", message_bytes),
            ("Kafka's log, with keys and framing", requests_bytes),
        ):
            name = names[rate] if size is message_bytes else f"{names[rate]}, in the log"
            figures.append(Figure(name, size / max(rate, 1), unit, f"{shape}; {where}"))
        if not rate:
            figures.append(
                Figure("its hardware, in the log", hardware_bytes, unit, "sampled each second, no GPU")
            )
    return figures


async def measure(brokers: str, data: Path) -> dict[int, tuple[float, float, float]]:
    """Return at each rate the bytes of a message of requests, and of the logs of requests and hardware a second."""
    agents = {}
    for rate in RATES:
        prefix = f"wire-{rate}"
        await ensure_topics(
            brokers, [TopicSpec(t.name(prefix), 1, t.retention_ms, config=TOPIC_CONFIG) for t in TOPICS]
        )
        config = AgentConfig(
            namespace="acme",
            endpoint="classifier",
            replica_id="classifier-7f9c6d5b8-x2x4q",
            kafka=KafkaConfig(bootstrap_servers=brokers, topic_prefix=prefix),
        )
        agents[rate] = AnalyticsMiddleware(Application(), config=config)
    loads = [asyncio.create_task(_load(app, rate)) for rate, app in agents.items()]
    await asyncio.sleep(SETTLE_S)
    before = {rate: _sizes(data, rate) for rate in RATES}
    await asyncio.sleep(MEASURE_S)
    after = {rate: _sizes(data, rate) for rate in RATES}
    for load in loads:
        load.cancel()
    for app in agents.values():
        if app.agent is not None:
            await asyncio.to_thread(app.agent.stop)
    return {
        rate: (
            await _message_bytes(brokers, REQUESTS.name(f"wire-{rate}")),
            (after[rate][0] - before[rate][0]) / MEASURE_S,
            (after[rate][1] - before[rate][1]) / MEASURE_S,
        )
        for rate in RATES
    }


async def _message_bytes(brokers: str, topic: str) -> float:
    """Return the mean size of the topic's messages, without keys."""
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=brokers, auto_offset_reset="earliest") as consumer:
        consumer.assign([partition])
        end, sizes = (await consumer.end_offsets([partition]))[partition], list[int]()
        while len(sizes) < end:
            sizes.append(len((await consumer.getone()).value))
    return sum(sizes) / len(sizes)


def _sizes(data: Path, rate: int) -> tuple[int, int]:
    """Return the bytes in the logs of both topics."""
    found = []
    for topic in (REQUESTS, HARDWARE):
        files = (data / "log").glob(f"{topic.name(f'wire-{rate}')}-*/*.log")
        found.append(sum(file.stat().st_size for file in files))
    return found[0], found[1]


async def _load(app: AnalyticsMiddleware, rate: int) -> None:
    """Send a first request, which starts the agent, and then so many a second until cancelled."""
    running: set[asyncio.Task[None]] = set()
    while True:
        task = asyncio.create_task(_request(app))
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(1 / rate if rate else 3600)


async def _request(app: AnalyticsMiddleware) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        return None

    await app({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)


if __name__ == "__main__":
    main()
