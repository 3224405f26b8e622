"""Measures what a message, a request and a flush cost, and prints the tables of docs/sizing.md from that.

`python -m tests.benchmarks.sizing 50000 30`: for 50,000 replicas with 30 requests a second each.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from aiokafka import AIOKafkaProducer
from tests.benchmarks import wire
from tests.benchmarks.live import REQUESTS_A_MESSAGE, requests_a_second
from tests.benchmarks.live_run import LiveRun, Spent
from tests.benchmarks.pipelines import OUR_PIPELINE
from tests.benchmarks.resources import cpu_s
from tests.benchmarks.sizing_model import Costs, Load, fit, render_costs, render_sizes, size

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess

REPLICAS = (1_000, 10_000, 30_000, 100_000)
SETTLE_S, MEASURE_S = 25.0, 40.0
CONNECTIONS, WARM_S, CONNECTIONS_S = 200, 20.0, 20.0


@dataclass(frozen=True, slots=True)
class Shape:
    """A load to measure: so many replicas, requests in each message, and whether hardware is sent."""

    replicas: int
    requests_a_message: int
    hardware: bool = False


SHAPES = (
    Shape(200, 20),
    Shape(1_000, 20),
    Shape(10_000, 20),
    Shape(1_000, 3),
    Shape(200, 120),
    Shape(1_000, 20, hardware=True),
)


def main(replicas: Sequence[int] = REPLICAS, requests_a_second: float = REQUESTS_A_MESSAGE) -> None:
    """Print the measured costs, and what so many replicas need."""
    costs = measure()
    print(render_costs(costs))
    print(f"\n{requests_a_second:g} requests and a sample of hardware a second, each replica\n")
    print(render_sizes([size(number, requests_a_second, costs) for number in replicas]))


def measure() -> Costs:
    """Measure each shape, the wire and the broker; prints how well the fit explains what was measured."""
    loads, spent, windows = [], [], {}
    for shape in SHAPES:
        found, windows[shape] = _measure(shape)
        sent_a_second = sum(
            requests_a_second(number, shape.requests_a_message) for number in range(shape.replicas)
        )
        requests = found.requests / found.took_s
        messages = (
            shape.replicas * requests / sent_a_second
        )  # fewer than are sent where the machine is too busy
        loads.append(Load(messages, requests, messages if shape.hardware else 0.0))
        spent.append(found)
    ours = [each.pipeline_s / each.took_s for each in spent]
    theirs = [each.clickhouse_s / each.took_s for each in spent]
    worker, clickhouse = fit(loads, ours), fit(loads, theirs)
    print(
        "replicas  requests a message  hardware  stored/s  cores of the worker: measured  fitted"
        "  of ClickHouse: measured  fitted  % of the machine: others"
    )
    for shape, load, found in zip(SHAPES, loads, spent, strict=True):
        print(
            f"{shape.replicas:>8}  {shape.requests_a_message:>18}  {'yes' if shape.hardware else 'no':>8}"
            f"  {load.requests:>8.0f}"
            f"  {found.pipeline_s / found.took_s:>29.3f}  {worker.fixed + worker.of(load):>6.3f}"
            f"  {found.clickhouse_s / found.took_s:>23.3f}  {clickhouse.fixed + clickhouse.of(load):>6.3f}"
            f"  {found.others_percent:>24.0f}"
        )
    print()
    sent = asyncio.run(_wire())
    return Costs(
        worker=worker,
        clickhouse=clickhouse,
        broker_message_s=_broker_message_s(),
        message_bytes=sent[0][0],
        request_bytes=(sent[20][0] - sent[0][0]) / 20,
        hardware_message_bytes=sent[0][1],
        ten_seconds_bytes=windows[Shape(1_000, 20)][0],
        minute_bytes=windows[Shape(200, 120)][0],
        hardware_window_bytes=windows[Shape(1_000, 20, hardware=True)][1],
    )


def _measure(shape: Shape) -> tuple[Spent, tuple[float, float]]:
    """Return what a shape takes, and the bytes of a replica's 10 s of requests and of hardware."""
    with tempfile.TemporaryDirectory() as directory, LiveRun(OUR_PIPELINE, Path(directory)) as run:
        run.send(shape.replicas, shape.requests_a_message, hardware=shape.hardware)
        run.start()
        time.sleep(SETTLE_S)
        spent = run.measure(MEASURE_S)
        hardware_bytes = run.bytes_a_window("hardware_windows") if shape.hardware else 0.0
        return spent, (run.bytes_a_window(), hardware_bytes)


async def _wire() -> dict[int, tuple[float, float]]:
    """Return what Kafka's log grows by in a second, of requests and of hardware, for each number of requests."""
    with tempfile.TemporaryDirectory() as directory, KafkaProcess(Path(directory) / "kafka") as kafka:
        found = await wire.measure(kafka.bootstrap_servers, Path(directory) / "kafka")
        return {rate: (requests, hardware) for rate, (_, requests, hardware) in found.items()}


def _broker_message_s() -> float:
    """Return the broker's CPU seconds for a message of a replica, each with a connection of its own, as agents have."""
    with tempfile.TemporaryDirectory() as directory, KafkaProcess(Path(directory)) as kafka:
        process = psutil.Process(kafka.pid)
        return asyncio.run(_send_alone(kafka.bootstrap_servers, process))


async def _send_alone(brokers: str, broker: psutil.Process) -> float:
    await ensure_topics(brokers, [TopicSpec("sizing", 8, 3_600_000)])
    producers = [AIOKafkaProducer(bootstrap_servers=brokers) for _ in range(CONNECTIONS)]
    for producer in producers:
        await producer.start()
        await producer.send_and_wait("sizing", b"x" * 500)
    await _send_for(producers, WARM_S)  # until Java has compiled what it runs
    begun_s = cpu_s(broker)
    sent = await _send_for(producers, CONNECTIONS_S)
    spent_s = cpu_s(broker) - begun_s
    for producer in producers:
        await producer.stop()
    return spent_s / sent


async def _send_for(producers: Sequence[AIOKafkaProducer], seconds: float) -> int:
    """Let each producer send a message a second; returns how many were sent."""
    sent, begun = 0, time.monotonic()
    while time.monotonic() < begun + seconds:
        second = time.monotonic()
        for producer in producers:
            await producer.send("sizing", b"x" * 500)
            sent += 1
            await asyncio.sleep(0.8 / len(producers))
        await asyncio.sleep(max(0.0, second + 1 - time.monotonic()))
    return sent


if __name__ == "__main__":
    main(*([int(sys.argv[1])], float(sys.argv[2])) if len(sys.argv) > 2 else ())
