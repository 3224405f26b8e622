"""A real framework's application on a real server, in its own process: what Kafka has of it in the end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.support.waiting import eventually, until_open

from endpoint_analytics.agents.core.config import KafkaConfig
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.codec import decode_hardware, decode_replicas, decode_requests
from endpoint_analytics.schemas.hardware import HardwareBatch
from endpoint_analytics.schemas.requests import RequestBatch
from endpoint_analytics.schemas.topics import HARDWARE, REPLICAS, REQUESTS, Topic

BIN = Path(sys.executable).parent


@dataclass
class Found:
    """What is in the topics: batches by boot, states in the order of their times."""

    boots: dict[str, list[RequestBatch]] = field(default_factory=dict)
    hardware: list[HardwareBatch] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def total(self, name: str) -> int:
        return sum(getattr(batches[-1].totals, name) for batches in self.boots.values())

    @property
    def status(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for batches in self.boots.values():
            counts.update(batches[-1].totals.status)
        return dict(counts)


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(self, path: str, number: int, at_once: int = 20) -> Counter[int]:
        """Send requests, each on its own connection, so that every worker gets some."""

        async def all_of_them() -> Counter[int]:
            connector = aiohttp.TCPConnector(force_close=True, limit=at_once)
            async with aiohttp.ClientSession(connector=connector) as session:

                async def one() -> int:
                    async with session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
                        await answer.read()
                        return answer.status

                return Counter(await asyncio.gather(*(one() for _ in range(number))))

        return asyncio.run(all_of_them())

    def hang_up_late(self, path: str) -> None:
        """Read the first piece of a stream, then disconnect."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            got = b""
            while b"piece" not in got:
                got += connection.recv(65_536)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def served(
    words: Callable[[int], Sequence[str]], directory: Path, kafka: KafkaConfig, **environment: str
) -> Iterator[Server]:
    """Start a server; `words(port)` is its command line. It ends with the block at the latest."""
    port = free_port("127.0.0.1")
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(words(port)),
            cwd=directory,
            stdout=output,
            stderr=output,
            env={
                **os.environ,
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(directory),
                "ENDPOINT_ANALYTICS_NAMESPACE": "acme",
                "ENDPOINT_ANALYTICS_ENDPOINT": "classifier",
                "ENDPOINT_ANALYTICS_REPLICA_ID": "replica-1",
                "ENDPOINT_ANALYTICS_KAFKA": kafka.bootstrap_servers,
                "ENDPOINT_ANALYTICS_TOPIC_PREFIX": kafka.topic_prefix,
                **environment,
            },
            start_new_session=True,
        )
    try:
        until_open(port, process, log)
        yield Server(process, port, log)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def read_all(kafka: KafkaConfig) -> Found:
    """Return all that is in the topics now."""

    async def read(topic: Topic) -> list[bytes]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partition = TopicPartition(topic.name(kafka.topic_prefix), 0)
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            return [(await asyncio.wait_for(consumer.getone(), 30)).value for _ in range(end)]
        finally:
            await consumer.stop()

    async def read_three() -> tuple[list[bytes], list[bytes], list[bytes]]:
        return await read(REQUESTS), await read(HARDWARE), await read(REPLICAS)

    requests, hardware, replicas = asyncio.run(read_three())
    found = Found(hardware=[decode_hardware(value) for value in hardware])
    for batch in map(decode_requests, requests):
        found.boots.setdefault(batch.boot_id, []).append(batch)
    events = sorted(map(decode_replicas, replicas), key=lambda event: event.at_us)
    found.states = [event.state for event in events]
    found.reasons = [event.reason for event in events]
    return found


def read_when(kafka: KafkaConfig, holds: Callable[[Found], bool], what: str) -> Found:
    return eventually(lambda: read_all(kafka), holds, 60, what)
