"""Kafka killed, stopped, and unreachable from only one agent."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from tests.faults.kafka_proxy import KafkaProxy
from tests.faults.rig import Parts, Rig
from tests.support.oracle import Accepted
from tests.support.parts import Child
from tests.support.waiting import eventually

from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.schemas.requests import Totals

TRAFFIC = {"rate": 8.0, "duplicates": 0.05, "gaps": 0.02, "late": 0.03, "restarts": 0.02, "hardware": True}


def test_killed_and_started_again(rig: Rig) -> None:
    rig.worker()
    sending = rig.send_steadily(12, **TRAFFIC)
    rig.wait_for_commits()
    rig.parts.kafka.kill()
    time.sleep(1)
    rig.parts.kafka.start()
    sending.join()
    rig.verify("Kafka killed and started again")


@pytest.mark.slow
def test_killed_beside_the_worker(rig: Rig) -> None:
    worker = rig.worker()
    sending = rig.send_steadily(10, **TRAFFIC)
    rig.wait_for_commits()
    rig.parts.kafka.kill()
    worker.kill()
    rig.parts.kafka.start()
    rig.worker()
    sending.join()
    rig.verify("Kafka and worker killed together")


@pytest.mark.slow
def test_stands_still(rig: Rig) -> None:
    rig.worker()
    sending = rig.send_steadily(12, **TRAFFIC)
    rig.wait_for_commits()
    for _ in range(2):
        os.kill(rig.parts.kafka.pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(rig.parts.kafka.pid, signal.SIGCONT)
        time.sleep(1)
    sending.join()
    rig.verify("Kafka stands still twice for 2.5 s")


@pytest.mark.slow
def test_connections_of_the_worker_are_cut(rig: Rig) -> None:
    with KafkaProxy(rig.parts.kafka.bootstrap_servers) as between:
        rig.worker(kafka=between.bootstrap_servers)
        sending = rig.send_steadily(10, **TRAFFIC)
        rig.wait_for_commits()
        for _ in range(3):
            between.cut()
            time.sleep(1)
        between.shut()
        time.sleep(2)
        between.open()
        sending.join()
        rig.verify("the worker's connections to Kafka cut")


@pytest.mark.slow
def test_topics_that_the_worker_cannot_see_yet(parts: Parts) -> None:
    """A restarted broker lists its topics a little later. Faust assigns nothing at first and must look again."""
    parts.repair()
    rig = Rig(parts, "topics-come-later", topics=False)
    try:
        rig.worker()
        time.sleep(3)
        rig.make_topics()
        rig.send_steadily(4, **TRAFFIC).join()
        rig.verify("topics that come after the worker")
    finally:
        rig.close()


AGENT = """
import sys, time, msgspec
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig
servers, prefix, namespace, replica, seconds = sys.argv[1:]
agent = Agent(AgentConfig(namespace=namespace, endpoint="llm", replica_id=replica, flush_interval_s=0.2,
    hardware=False, kafka=KafkaConfig(bootstrap_servers=servers, topic_prefix=prefix)))
agent.start()
print("agent ready", flush=True)
end, number = time.monotonic() + float(seconds), 0
while time.monotonic() < end:
    for request in [agent.recorder.arrive() for _ in range(5)]:
        request.respond((200, 404, 503)[number % 3])
        request.finish()
        number += 1
    time.sleep(0.02)
agent.stop(30)
snapshot = agent.snapshot()
print("totals", snapshot.boot_id, msgspec.json.encode(snapshot.totals).decode(), snapshot.dropped, flush=True)
"""


@pytest.mark.slow
def test_unreachable_from_one_agent(rig: Rig) -> None:
    """Its batches wait in the agent and arrive later; others are not affected."""
    rig.worker()
    agents = []
    with KafkaProxy(rig.parts.kafka.bootstrap_servers) as between:
        for replica, servers in (
            ("cut-off", between.bootstrap_servers),
            ("well", rig.parts.kafka.bootstrap_servers),
        ):
            words = [sys.executable, "-c", AGENT, servers, rig.name, rig.name, replica, "7"]
            child = Child(
                words, dict(os.environ), rig.parts.directory / f"{rig.name}-{replica}.log", "agent ready"
            )
            rig.workers.append(child)
            child.start()
            agents.append((replica, child))
        time.sleep(1.5)
        between.shut()
        time.sleep(3)
        between.open()
        also = {}
        for replica, child in agents:
            said = child.process.communicate(timeout=60)[0].decode().strip().split(" ", 3)
            assert said[0] == "totals"
            also[BootKey(rig.name, "llm", replica, said[1])] = Accepted(_totals(said[2]))
            assert "full" not in said[3]
    row = rig.verify("Kafka out of reach of one agent for 3 s", also=also)
    assert row.stored > 40
    assert eventually(lambda: rig.stored_batches(), bool, 5, "batches")


def _totals(text: str) -> Totals:
    import msgspec

    return msgspec.json.decode(text, type=Totals)


@pytest.mark.slow
def test_away_for_long(rig: Rig) -> None:
    rig.worker()
    sending = rig.send_steadily(40, **TRAFFIC)
    rig.wait_for_commits()
    rig.parts.kafka.kill()
    time.sleep(25)
    rig.parts.kafka.start()
    sending.join()
    rig.verify("Kafka away for 25 s")


@pytest.mark.slow
def test_killed_again_and_again(rig: Rig) -> None:
    rig.worker()
    sending = rig.send_steadily(30, **TRAFFIC)
    rig.wait_for_commits()
    for _ in range(4):
        rig.parts.kafka.kill()
        rig.parts.kafka.start()
        time.sleep(3)
    sending.join()
    rig.verify("Kafka killed four times")
