"""From one worker to eight: what each added worker costs, under a steady load and while catching up.

The load is the same throughout, and in real time; workers join it, as they would while it runs. What counts on a
machine with few cores is the CPU time for each event, of the workers and of ClickHouse, which gets more and smaller
inserts from more workers. Catching up shows how much they do by the clock, which the machine's cores limit: on two
cores, eight workers show what more workers cost, not how much they can read.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from aiokafka import AIOKafkaProducer
from tests.benchmarks.log import request_log
from tests.benchmarks.resources import cpu_s
from tests.benchmarks.results import CPU, Figure

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig
from endpoint_analytics.schemas.topics import REJECTED, REQUESTS, TOPIC_CONFIG, TOPICS

NUMBERS = (1, 2, 4, 8)
PARTITIONS = 32
REPLICAS, EVENTS_A_MESSAGE = 200, 50  # messages a second, one from each replica
SETTLE_S, MEASURE_S = 15.0, 20.0
BACKLOG = 20_000  # messages to catch up with
# Events are older than their messages by this much, so that messages sent at once are not of the future.
OLDER_S = BACKLOG // REPLICAS * len(NUMBERS)
PREFIX = "bench"
AGES = """
SELECT max(age) FROM (SELECT (toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(max(read_to))) / 1000 AS age
    FROM partition_progress WHERE stream = 'requests' GROUP BY partition)
"""
EVENTS = "SELECT sum(arrived + ttfb_count + finished) FROM boots FINAL WHERE stream = 'requests'"


class Load:
    """Sends the records of a log in order, each replica's to one partition; `sent` is how many Kafka has."""

    def __init__(self, brokers: str, records: Sequence[Record]) -> None:
        self._brokers = brokers
        self._records = records
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    def start(self) -> None:
        """Send each when its time has come, until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending."""
        self._ending.set()
        self._thread.join()

    def send_now(self, messages: int) -> None:
        """Send the next messages at once."""
        asyncio.run(self._send_now(self.sent + messages))

    def _run(self) -> None:
        asyncio.run(self._send_in_time())

    async def _send_now(self, end: int) -> None:
        async with self._producer() as producer:
            await self._send(producer, end)

    async def _send_in_time(self) -> None:
        async with self._producer() as producer:
            while not self._ending.is_set():
                end, now_ms = self.sent, (time.time() - OLDER_S) * 1000
                while self._records[end].append_ms <= now_ms:
                    end += 1
                await self._send(producer, end)
                await asyncio.sleep(0.02)

    def _producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(bootstrap_servers=self._brokers, linger_ms=5, max_batch_size=1024 * 1024)

    async def _send(self, producer: AIOKafkaProducer, end: int) -> None:
        records = self._records[self.sent : end]
        answers = [
            await producer.send(
                REQUESTS.name(PREFIX), record.value, partition=record.offset % REPLICAS % PARTITIONS
            )
            for record in records
        ]
        await asyncio.gather(*answers)
        self.sent += len(records)


class Workers:
    """Workers of one group, with a small table of what they cost."""

    def __init__(self, brokers: str, config: ClickHouseConfig, directory: Path) -> None:
        self._environment = dict(
            os.environ,
            ENDPOINT_ANALYTICS_KAFKA=brokers,
            ENDPOINT_ANALYTICS_TOPIC_PREFIX=PREFIX,
            ENDPOINT_ANALYTICS_CLICKHOUSE_URL=config.url,
            ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD=config.password,
        )
        self._directory = directory
        self._children: list[subprocess.Popen[str]] = []

    def grow(self, number: int) -> None:
        """Start workers until there are this many."""
        command = [sys.executable, "-m", "endpoint_analytics.infra.command", "worker"]
        while len(self._children) < number:
            with (self._directory / f"worker-{len(self._children)}.log").open("ab") as log:
                child = subprocess.Popen(
                    command, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True
                )
            self._children.append(child)
            if child.stdout is None or child.stdout.readline() != "worker ready\n":
                raise RuntimeError("a worker did not start")

    @property
    def processes(self) -> list[psutil.Process]:
        return [psutil.Process(child.pid) for child in self._children]

    def signal(self, number: int) -> None:
        for child in self._children:
            child.send_signal(number)

    def stop(self) -> None:
        """Stop all workers."""
        for child in self._children:
            child.terminate()
        for child in self._children:
            child.wait(60)
            if child.stdout is not None:
                child.stdout.close()
        self._children = []


def main() -> list[Figure]:
    """Print a table of the steady load, and one of catching up."""
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        with KafkaProcess(data / "kafka") as kafka, ClickHouseProcess(data / "clickhouse") as clickhouse:
            config = clickhouse.config()
            migrate(config)
            specs = [
                TopicSpec(
                    t.name(PREFIX), 1 if t is REJECTED else PARTITIONS, t.retention_ms, config=TOPIC_CONFIG
                )
                for t in TOPICS
            ]
            asyncio.run(ensure_topics(kafka.bootstrap_servers, specs))
            client, workers = connect(config), Workers(kafka.bootstrap_servers, config, data)
            try:
                return _measure(kafka.bootstrap_servers, client, workers, psutil.Process(clickhouse.pid))
            finally:
                workers.stop()
                client.close()


def _measure(brokers: str, client: Client, workers: Workers, clickhouse: psutil.Process) -> list[Figure]:
    seconds = int(SETTLE_S + MEASURE_S + 15) * len(NUMBERS) + OLDER_S
    begin_us = int(time.time() + 15 - OLDER_S) * 1_000_000  # once the log is made, and a worker runs
    records = request_log(seconds * REPLICAS, EVENTS_A_MESSAGE, REPLICAS, random.Random(1), begin_us)
    load = Load(brokers, records)
    workers.grow(NUMBERS[0])
    load.start()
    try:
        figures = _measure_steady(client, workers, clickhouse)
    finally:
        load.stop()
    _wait_until_stored(client, load)
    cpu, started = _cpu(workers, clickhouse), time.monotonic()
    time.sleep(MEASURE_S)
    share = (_cpu(workers, clickhouse)[0] - cpu[0]) / (time.monotonic() - started) / NUMBERS[-1] * 100
    print(f"at rest, {NUMBERS[-1]} workers: {share:.1f} % of a core each")
    workers.stop()
    _measure_backlog(client, workers, clickhouse, load)
    return figures


def _measure_steady(client: Client, workers: Workers, clickhouse: psutil.Process) -> list[Figure]:
    print(
        f"{REPLICAS * EVENTS_A_MESSAGE} events/s in {REPLICAS} messages/s, {PARTITIONS} partitions, "
        f"{os.cpu_count()} cores; CPU in us for each event, memory in MiB, times in s\n"
        "workers  workers' CPU  ClickHouse's CPU  % of a core each  own memory each  late: p50   max  at joining"
    )
    figures = []
    for number in NUMBERS:
        growing = threading.Thread(target=workers.grow, args=(number,))
        growing.start()
        joining = _ages(client, SETTLE_S)
        growing.join()
        cpu, events, started = _cpu(workers, clickhouse), _stored(client), time.monotonic()
        ages = sorted(_ages(client, MEASURE_S))
        took_s, events = time.monotonic() - started, _stored(client) - events
        ours_s, theirs_s = (now - then for now, then in zip(_cpu(workers, clickhouse), cpu, strict=True))
        memory = sum(process.memory_full_info().uss for process in workers.processes) / number / 2**20
        print(
            f"{number:>7}  {ours_s / events * 1e6:>12.1f}  {theirs_s / events * 1e6:>16.1f}"
            f"  {ours_s / took_s / number * 100:>16.1f}  {memory:>15.0f}"
            f"  {ages[len(ages) // 2]:>9.1f}  {ages[-1]:>4.1f}  {max(joining):>10.1f}",
            flush=True,
        )
        # An event is an arrival, a status or an end: three for a request.
        cpu_s_a_million = (ours_s + theirs_s) / events * 3e6
        shape = f"{REPLICAS} replicas, a message of {EVENTS_A_MESSAGE} events a second each, {PARTITIONS} partitions"
        name = f"{number} worker{'s' if number > 1 else ''} and ClickHouse"
        figures.append(Figure(name, cpu_s_a_million, CPU, f"{shape}, {os.cpu_count()} cores for all"))
    return figures


def _measure_backlog(client: Client, workers: Workers, clickhouse: psutil.Process, load: Load) -> None:
    events = BACKLOG * EVENTS_A_MESSAGE
    print(
        f"catching up with {events / 1e6:g} million events\n"
        "workers  million events/s  workers' CPU  ClickHouse's CPU"
    )
    for number in NUMBERS:
        workers.grow(number)
        time.sleep(SETTLE_S)
        workers.signal(signal.SIGSTOP)
        load.send_now(BACKLOG)
        cpu, started = _cpu(workers, clickhouse), time.monotonic()
        workers.signal(signal.SIGCONT)
        _wait_until_stored(client, load)
        took_s = time.monotonic() - started
        ours_s, theirs_s = (now - then for now, then in zip(_cpu(workers, clickhouse), cpu, strict=True))
        print(
            f"{number:>7}  {events / took_s / 1e6:>16.3f}  {ours_s / events * 1e6:>12.1f}"
            f"  {theirs_s / events * 1e6:>16.1f}",
            flush=True,
        )


def _cpu(workers: Workers, clickhouse: psutil.Process) -> tuple[float, float]:
    """Return the CPU seconds of all workers, and of ClickHouse."""
    return sum(map(cpu_s, workers.processes)), cpu_s(clickhouse)


def _ages(client: Client, seconds: float) -> list[float]:
    """Return by how much the latest partition was late, four times a second."""
    end, ages = time.monotonic() + seconds, []
    while time.monotonic() < end:
        ages.append(float(client.query(AGES).result_rows[0][0]))
        time.sleep(0.25)
    return ages


def _stored(client: Client) -> int:
    return int(client.query(EVENTS).result_rows[0][0])


def _wait_until_stored(client: Client, load: Load) -> None:
    while _stored(client) < load.sent * EVENTS_A_MESSAGE:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
