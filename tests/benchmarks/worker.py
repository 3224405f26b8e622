"""The whole worker, from Kafka to stored rows: events per second of CPU time.

The log is in Kafka before the worker starts. Its CPU time is measured from the start of reading until the last row is
in ClickHouse, without the startup of Python and Faust. The peer is Faust as in its guide: one step of a windowed table
per event, on (a part of) the same log, in memory, without any database.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from aiokafka import AIOKafkaProducer
from tests.benchmarks.log import request_log
from tests.benchmarks.results import LARGE_MESSAGES, Figure
from tests.benchmarks.workers import EVENTS

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig
from endpoint_analytics.schemas.topics import REQUESTS, TOPIC_CONFIG, TOPICS

SHAPES = ((500, 20_000, 200), (10, 150_000, 2_000))  # events per message, messages, messages for the peer
REPLICAS = 200
PEER_WITHIN_S = 180


def main() -> list[Figure]:
    """Print events per second and core of the worker and of the peer, and their ratio."""
    figures = []
    with tempfile.TemporaryDirectory() as directory:
        for events_a_message, messages, peer_messages in SHAPES:
            data = Path(directory) / str(events_a_message)
            with KafkaProcess(data / "kafka") as kafka, ClickHouseProcess(data / "clickhouse") as clickhouse:
                config = clickhouse.config()
                migrate(config)
                asyncio.run(_fill(kafka.bootstrap_servers, events_a_message, messages))
                ours, wall = _measure_worker(kafka.bootstrap_servers, config, messages * events_a_message)
                peer = _measure_peer(kafka.bootstrap_servers, data, peer_messages * events_a_message)
            print(
                f"worker, {events_a_message:>3} events a message: {ours / 1e6:6.3f} million events/s a core "
                f"({wall / 1e6:.3f} by the clock); a Faust table {peer / 1e6:6.3f}; ratio {ours / peer:6.1f}"
            )
            large = events_a_message == SHAPES[0][0]
            name = LARGE_MESSAGES if large else "a backlog of small messages: the worker"
            unit, shape = (
                "million events/s a core",
                f"{events_a_message} events a message, {REPLICAS} replicas",
            )
            figures += [
                Figure(name, ours / 1e6, unit, shape),
                Figure(name, peer / 1e6, unit, shape, "a windowed Faust table, without a database"),
            ]
    return figures


async def _fill(brokers: str, events_a_message: int, messages: int) -> None:
    await ensure_topics(
        brokers,
        [TopicSpec(t.name("bench"), 1, t.retention_ms, config=TOPIC_CONFIG) for t in TOPICS],
    )
    start_us = int(time.time() - messages / REPLICAS - 5) * 1_000_000
    records = request_log(messages, events_a_message, REPLICAS, random.Random(1), start_us)
    producer = AIOKafkaProducer(bootstrap_servers=brokers, linger_ms=20, max_batch_size=1024 * 1024)
    await producer.start()
    sent = [await producer.send(REQUESTS.name("bench"), record.value) for record in records]
    await asyncio.gather(*sent)
    await producer.stop()


def _measure_worker(brokers: str, config: ClickHouseConfig, events: int) -> tuple[float, float]:
    client = connect(config)
    environment = dict(
        os.environ,
        ENDPOINT_ANALYTICS_KAFKA=brokers,
        ENDPOINT_ANALYTICS_TOPIC_PREFIX="bench",
        ENDPOINT_ANALYTICS_CLICKHOUSE_URL=config.url,
        ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD=config.password,
    )
    command = [sys.executable, "-m", "endpoint_analytics.infra.command", "worker"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "worker ready\n":
                raise RuntimeError("the worker did not start")
            watched = psutil.Process(process.pid)
            begun, begun_s = time.perf_counter(), _cpu_s(watched)
            while _stored_events(client) < events:
                time.sleep(0.1)
            spent_s, wall_s = _cpu_s(watched) - begun_s, time.perf_counter() - begun
        finally:
            process.terminate()
    return events / spent_s, events / wall_s


def _stored_events(client: object) -> int:
    return int(client.query(EVENTS).result_rows[0][0])  # type: ignore[attr-defined]


def _measure_peer(brokers: str, data: Path, events: int) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.faust_table", brokers, str(data / "peer"), str(events)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PEER_WITHIN_S)
    except subprocess.SubprocessError as error:
        raise RuntimeError(f"the peer failed: {str(getattr(error, 'stderr', ''))[-2000:]}") from error
    return float(result.stdout.splitlines()[-1])


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
