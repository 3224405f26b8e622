"""Served requests' p50 and p99 with Kafka healthy, slow, refusing, stopped and dead: with and without the middleware.

Four uvicorn processes serve the same bare application: two without the middleware (their difference is the machine's
own noise), one with it, and one with it and a spool. One client sends each of them RATE requests per second, in random
order, on keep-alive connections, whether or not earlier ones were answered; so all see the same machine at the same
time. Quantiles are computed per second, and their median over the phase is reported, which hides occasional other
activity of the machine. Kafka is real, and so are its failures:

- slow: the broker is stopped (SIGSTOP) for 0.9 of each second, so that a batch waits for about as long
- refuses: its topics accept no message of the agents' size, so that each is refused, dropped and counted
- stopped: SIGSTOP; connections stay open, and nothing answers
- dead: SIGKILL; connections are refused. A broker whose disk is full stops itself, so it is dead too
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from tests.benchmarks.served import load, server

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX, TOPIC_CONFIG, TOPICS

RATE = 220
PHASE_S = 7.0
SETTLE_S = 0.5
TOPIC_NAMES = [topic.name(DEFAULT_PREFIX) for topic in TOPICS]


async def set_largest(bootstrap_servers: str, largest_bytes: int) -> None:
    """Set the maximum message size of the topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        configs = TOPIC_CONFIG | {"max.message.bytes": str(largest_bytes)}
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name, configs=configs) for name in TOPIC_NAMES]
        )
    finally:
        await admin.close()


class Slow:
    """Stops a process for 0.9 of each second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ending.is_set():
            os.kill(self._pid, signal.SIGSTOP)
            self._ending.wait(0.9)
            os.kill(self._pid, signal.SIGCONT)
            self._ending.wait(0.1)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join()


def main() -> None:
    """Print the table."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(KafkaProcess(directory / "kafka"))
        address = kafka.bootstrap_servers
        specs = [TopicSpec(name, 1, 3_600_000, config=TOPIC_CONFIG) for name in TOPIC_NAMES]
        asyncio.run(ensure_topics(address, specs))
        common = {
            "ENDPOINT_ANALYTICS_KAFKA": address,
            "ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY": str(directory / "run"),
        }
        spool = {"ENDPOINT_ANALYTICS_SPOOL": str(directory / "spool")}
        ports = {
            "without": stack.enter_context(server("without")),
            "without again": stack.enter_context(server("without")),
            "with": stack.enter_context(server("with", ENDPOINT_ANALYTICS_REPLICA_ID="a", **common)),
            "with, spool": stack.enter_context(
                server("with", ENDPOINT_ANALYTICS_REPLICA_ID="b", **common, **spool)
            ),
        }
        slow = Slow(kafka.pid)

        def limit(largest_bytes: int) -> None:
            asyncio.run(set_largest(address, largest_bytes))

        def stop(sign: int) -> None:
            os.kill(kafka.pid, sign)

        def nothing() -> None:
            """Leave Kafka as it is."""

        phases: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "well": (nothing, nothing),
            "slow": (slow.start, slow.end),
            "refuses": (lambda: limit(10), lambda: limit(int(TOPIC_CONFIG["max.message.bytes"]))),
            "stopped": (lambda: stop(signal.SIGSTOP), lambda: stop(signal.SIGCONT)),
            "dead": (kafka.kill, nothing),
        }
        gc.disable()
        asyncio.run(load(ports, RATE, 1.0))  # warms up
        print(f"requests served while Kafka is in trouble: {RATE}/s to each server, {PHASE_S:g} s a phase")
        print(f"  {'Kafka':<10}{'server':<15}{'p50 us':>8}{'p99 us':>8}{'p50 ratio':>11}{'p99 ratio':>11}")
        for phase, (begin, end) in phases.items():
            begin()
            time.sleep(SETTLE_S)
            taken = asyncio.run(load(ports, RATE, PHASE_S))
            end()
            base = quantiles(taken["without"])
            for name, taken_us in taken.items():
                p50, p99 = quantiles(taken_us)
                print(
                    f"  {phase:<10}{name:<15}{p50:>8.0f}{p99:>8.0f}{p50 / base[0]:>11.2f}{p99 / base[1]:>11.2f}",
                    flush=True,
                )


def quantiles(taken_us: list[float]) -> tuple[float, float]:
    """Return p50 and p99 of each second's requests, as medians over the seconds."""
    seconds = [taken_us[at : at + RATE] for at in range(0, len(taken_us) - RATE + 1, RATE)]
    cuts = [statistics.quantiles(second, n=100) for second in seconds]
    return statistics.median(cut[49] for cut in cuts), statistics.median(cut[98] for cut in cuts)


if __name__ == "__main__":
    main()
