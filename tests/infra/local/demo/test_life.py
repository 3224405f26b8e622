"""The demo's replicas follow the timetable and report to Kafka, on a real broker with real replicas."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.support.waiting import until_async

from endpoint_analytics.agents.core.lifecycle import may_follow
from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.demo import life as life_module
from endpoint_analytics.infra.local.demo.identity import EXTRA, FIRST, KILLED, RESTARTED
from endpoint_analytics.infra.local.demo.life import DemoLife
from endpoint_analytics.infra.local.demo.replica import Environment
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.schemas.codec import decode_replicas
from endpoint_analytics.schemas.replicas import EndpointSettings, ReplicaMessage, ReplicaState
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX, ENGINE, HARDWARE, REPLICAS, REQUESTS

TOPICS = [
    TopicSpec(topic.name(DEFAULT_PREFIX), 1, 3_600_000) for topic in (REQUESTS, HARDWARE, ENGINE, REPLICAS)
]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with KafkaProcess(tmp_path_factory.mktemp("kafka"), heap_mb=256) as process:
        asyncio.run(ensure_topics(process.bootstrap_servers, TOPICS))
        yield process.bootstrap_servers


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCHEDULED", "FROM_NOTHING", "AGAIN"):
        story = tuple((state, 0.1, reason) for state, _, reason in getattr(life_module, name))
        monkeypatch.setattr(life_module, name, story)
    monkeypatch.setattr(life_module, "DRAIN_S", 0.2)
    monkeypatch.setattr(life_module, "FAILED_S", 0.2)


async def read_told(kafka: str) -> list[ReplicaMessage]:
    partition = TopicPartition(REPLICAS.name(DEFAULT_PREFIX), 0)
    async with AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest") as consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        reported: list[ReplicaMessage] = []
        while await consumer.position(partition) < end:
            for messages in (await consumer.getmany(timeout_ms=500)).values():
                reported += [decode_replicas(message.value) for message in messages]
    return sorted(reported, key=lambda message: message.at_us)


@pytest.mark.slow
def test_every_figure_of_a_replicas_life_moves(kafka: str, tmp_path: Path) -> None:
    said: list[str] = []

    async def live() -> list[ReplicaMessage]:
        life = DemoLife(Environment(kafka, tmp_path, tmp_path), 0, 1.0, said.append, said.append)
        try:
            await life.begin()
            assert {target.replica_id for target in life.targets()} == {FIRST, RESTARTED}
            running = asyncio.create_task(life.run())
            await until_async(lambda: len(life.targets()) == 3)
            await life._play("scale up")
            assert len(life.targets()) == 4
            await asyncio.gather(*(life._play(event) for event in ("restart", "kill", "scale down")))
            assert {target.replica_id for target in life.targets()} == {FIRST, RESTARTED, KILLED}
            assert said == []
            first = life.replicas[FIRST]
            first._child.kill()
            await until_async(lambda: said and first.target is None)
            await until_async(lambda: first.target is not None)
            running.cancel()
        finally:
            await life.end()
        assert life.targets() == []
        return await read_told(kafka)

    reported = asyncio.run(live())
    assert said == [f"{FIRST} ended with status -9: restarting in 0.5 s"]
    assert [message.max_replicas for message in reported if isinstance(message, EndpointSettings)] == [
        3,
        4,
        3,
    ]
    states = defaultdict(list)
    for message in reported:
        if isinstance(message, ReplicaState):
            states[message.replica_id].append(message.state)
    up, down = ["initializing", "running"], ["draining", "terminated"]
    from_nothing, again = ["pending", "downloading", "pulling", *up], ["pending", "pulling", *up]
    assert states == {
        FIRST: ["pending", *up, "failed", "pending", *up, *down],
        RESTARTED: ["pending", *up, "draining", *down, *again, *down],
        KILLED: [*from_nothing, "failed", *again, *down],
        EXTRA: [*from_nothing, "draining", *down],
    }
    assert all(
        before == after or may_follow(before, after)
        for reported in states.values()
        for before, after in pairwise(reported)
    )
