"""A steady rate for a long time: do memory and lag stay flat, and do parts in ClickHouse stay few?

    python -m tests.faults.soak --minutes 30

samples every 30 s the resident memory of worker, query service and one agent process, the consumer group's
lag, and ClickHouse's active parts; prints a table and which of them are flat; finally the oracle checks the data.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from dataclasses import astuple, dataclass
from pathlib import Path

import msgspec
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from tests.faults.rig import FleetRun
from tests.support.oracle import Accepted, differences
from tests.support.parts import Child, Stack
from tests.support.waiting import eventually

from endpoint_analytics.infra.fleet.config import FleetConfig
from endpoint_analytics.infra.fleet.fleet import Fleet
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.requests import Totals
from endpoint_analytics.schemas.topics import REQUESTS

EVERY_S = 30.0
GROUP = "endpoint-analytics"
PARTITIONS = 4
MIB = 2**20
KEPT_MIB = 0.02
"""The query service keeps the histograms of each replica that is scraped, by hour: they fill up in the first hours."""

AGENT = """
import os, sys, time, signal, msgspec
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig
agent = Agent(AgentConfig(namespace="soak-agent", endpoint="llm", replica_id="agent-0",
    kafka=KafkaConfig(bootstrap_servers=os.environ["ENDPOINT_ANALYTICS_KAFKA"])))
agent.start()
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
print("agent ready", flush=True)
number = 0
while going:
    for request in [agent.recorder.arrive() for _ in range(10)]:
        request.respond((200, 200, 404, 503)[number % 4])
        request.finish()
        number += 1
    time.sleep(0.05)
agent.stop(30)
snapshot = agent.snapshot()
print("totals", snapshot.boot_id, msgspec.json.encode(snapshot.totals).decode(), flush=True)
"""


@dataclass(frozen=True)
class Sample:
    minutes: float
    worker_mib: float
    service_mib: float
    agent_mib: float
    clickhouse_mib: float
    lag: int
    parts: int
    most_parts: int
    events: int

    HEAD = (
        f"{'min':>6} {'worker MiB':>11} {'service MiB':>12} {'agent MiB':>10} {'ClickHouse MiB':>15}"
        f" {'lag':>7} {'parts':>6} {'most':>5} {'events':>10}"
    )

    def __str__(self) -> str:
        m, worker, service, agent, clickhouse, lag, parts, most, events = astuple(self)
        return (
            f"{m:>6.1f} {worker:>11.1f} {service:>12.1f} {agent:>10.1f} {clickhouse:>15.1f}"
            f" {lag:>7} {parts:>6} {most:>5} {events:>10}"
        )


async def read_lag(servers: str) -> int:
    """Return the number of messages after the group's committed offsets, including open chunks."""
    topic = REQUESTS.name(GROUP)
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        committed = await admin.list_consumer_group_offsets(GROUP)
    finally:
        await admin.close()
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False) as consumer:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
    return sum(end - max(committed[tp].offset if tp in committed else 0, 0) for tp, end in ends.items())


def rss_mib(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / MIB


def sample(stack: Stack, agent: Child, begun: float, fleet: Fleet) -> Sample:
    [(parts, most)] = stack.rows(
        "SELECT sum(n), max(n) FROM (SELECT count() AS n FROM system.parts"
        " WHERE active AND database = {database:String} GROUP BY table)",
        database=stack.config.database,
    )
    return Sample(
        (time.monotonic() - begun) / 60,
        rss_mib(stack.worker.pid),
        rss_mib(stack.serve.pid),
        rss_mib(agent.pid),
        rss_mib(stack.clickhouse.pid),
        asyncio.run(read_lag(stack.kafka.bootstrap_servers)),
        parts,
        most,
        fleet.truth.events,
    )


def verdict(name: str, values: list[float], allowed: float) -> str:
    """Compare the means of the second and the fourth quarter: the first is the start."""
    quarter = max(len(values) // 4, 1)
    early, late = values[quarter : 2 * quarter] or values, values[-quarter:]
    before, after = sum(early) / len(early), sum(late) / len(late)
    flat = after <= before + allowed
    return f"{name}: {before:.1f} -> {after:.1f}, {'flat' if flat else 'NOT FLAT'} (a rise of {allowed:g} is allowed)"


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description="a steady rate for long")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument("--rate", type=float, default=5.0, help="requests/s of each replica")
    arguments = parser.parse_args(words)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as directory,
        Stack(Path(directory), PARTITIONS) as stack,
    ):
        agent = stack.program("agent", [sys.executable, "-c", AGENT], "agent ready")
        agent.start()
        config = FleetConfig(
            name="soak", replicas=arguments.replicas, endpoints=8, rate=arguments.rate, duplicates=0.01,
            restarts=0.002, hardware=True, seed=1,
        )  # fmt: skip
        fleet = Fleet(config, KafkaConfig(bootstrap_servers=stack.kafka.bootstrap_servers))
        begun = time.monotonic()
        run = FleetRun(fleet, fleet.run_steadily(arguments.minutes * 60))
        samples: list[Sample] = []
        print(Sample.HEAD, flush=True)
        while run.is_running:
            time.sleep(max(0.0, begun + EVERY_S * (len(samples) + 1) - time.monotonic()))
            for endpoint in range(8):
                stack.scrape(f"endpoint-{endpoint}", "soak")
            samples.append(sample(stack, agent, begun, fleet))
            print(samples[-1], flush=True)
        truth = run.join()
        os.kill(agent.pid, 15)
        said = agent.process.communicate(timeout=60)[0].decode().split()
        accepted = {BootKey(*name): Accepted(boot.accepted.totals()) for name, boot in truth.boots.items()}
        key = BootKey("soak-agent", "llm", "agent-0", said[1])
        eventually(lambda: differences(stack.client, "soak", accepted), lambda d: not d, 120, "the fleet")
        totals = Accepted(msgspec.json.decode(said[2], type=Totals))
        eventually(
            lambda: differences(stack.client, "soak-agent", {key: totals}), lambda d: not d, 60, "the agent"
        )
        print(f"exact: {truth.events} events of {len(truth.boots)} boots, {truth.again} batches sent again")
        verdicts = [
            verdict("worker MiB", [s.worker_mib for s in samples], 16),
            verdict("service MiB", [s.service_mib for s in samples], 16 + KEPT_MIB * arguments.replicas),
            verdict("agent MiB", [s.agent_mib for s in samples], 4),
            verdict("lag", [float(s.lag) for s in samples], 25 * arguments.replicas),
            verdict("most parts of a table", [float(s.most_parts) for s in samples], 100),
        ]
        print("\n".join(verdicts))
        return 1 if any("NOT" in line for line in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
