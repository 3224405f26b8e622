"""Partitions are added to the topics while agents run: each boot stays in its partition, in order and without gaps."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from tests.agents.replica.test_agent_kafka import record
from tests.support.waiting import until

from endpoint_analytics.agents.core.config import KafkaConfig
from endpoint_analytics.agents.delivery import producer
from endpoint_analytics.agents.delivery.producer import make_producer
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.schemas.codec import decode_requests
from endpoint_analytics.schemas.topics import REQUESTS, TOPIC_CONFIG, TOPICS

BEFORE, AFTER = 2, 16


@pytest.fixture(autouse=True)
def _new_partitions_are_seen_soon(monkeypatch):
    """Kafka's clients ask for a topic's partitions every five minutes."""

    def make(*arguments: object) -> AIOKafkaProducer:
        made = make_producer(*arguments)
        made.client._metadata_max_age_ms = 500
        return made

    monkeypatch.setattr(producer, "make_producer", make)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaProcess]:
    with KafkaProcess(tmp_path / "kafka") as process:
        yield process


def make_topics(kafka: KafkaConfig) -> None:
    specs = [
        TopicSpec(topic.name(kafka.topic_prefix), BEFORE, topic.retention_ms, config=TOPIC_CONFIG)
        for topic in TOPICS
    ]
    asyncio.run(ensure_topics(kafka, specs))


def add_partitions(kafka: KafkaConfig) -> None:
    async def add() -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        await client.start()
        try:
            wanted = {topic.name(kafka.topic_prefix): NewPartitions(AFTER) for topic in TOPICS}
            answer = await client.create_partitions(wanted)
            assert all(error[1] == 0 for error in answer.topic_errors), answer
        finally:
            await client.close()

    asyncio.run(add())


def read_partitions(kafka: KafkaConfig) -> dict[str, dict[int, list[int]]]:
    """Return, by boot, the seqs in each partition of the topic of requests, in order."""

    async def read() -> dict[str, dict[int, list[int]]]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            places = [TopicPartition(REQUESTS.name(kafka.topic_prefix), number) for number in range(AFTER)]
            consumer.assign(places)
            left = sum((await consumer.end_offsets(places)).values())
            found: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
            while left:
                message = await asyncio.wait_for(consumer.getone(), 10)
                batch = decode_requests(message.value)
                found[batch.boot_id][message.partition].append(batch.seq)
                left -= 1
            return found
        finally:
            await consumer.stop()

    return asyncio.run(read())


def sent(agent: Agent) -> int:
    return agent.snapshot().sent["requests"]


@pytest.mark.parametrize(
    "spooled", [pytest.param(False, id="memory", marks=pytest.mark.slow), pytest.param(True, id="spool")]
)
def test_a_boot_stays_in_its_partition(broker, make_config, tmp_path, spooled):
    """The broker restarts meanwhile, so that all agents connect again; with a spool, messages wait there."""
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix="grown")
    make_topics(kafka)

    def agent(name: str) -> Agent:
        spool = str(tmp_path / f"spool-{name}") if spooled else ""
        return Agent(make_config(kafka=kafka, replica_id=name, spool=spool, stop_timeout_s=15.0))

    agents = [agent(f"r{number}") for number in range(6)]
    for each in agents:
        each.start()
        record(each, 3)
    until(lambda: all(sent(each) > 2 for each in agents), 30, "batches in Kafka")
    add_partitions(kafka)
    broker.kill()
    for each in agents:
        record(each, 4)
    broker.start()
    counts = [sent(each) for each in agents]
    until(
        lambda: all(sent(each) > count + 3 for each, count in zip(agents, counts, strict=True)),
        60,
        "batches after the restart",
    )
    late = [agent(f"r{number}") for number in range(6, 18)]
    for each in late:
        each.start()
        record(each, 2)
    for each in [*agents, *late]:
        each.stop()
    found = read_partitions(kafka)
    assert len(found) == len(agents) + len(late)
    for boot, partitions in found.items():
        (seqs,) = partitions.values()  # one partition
        assert sorted(set(seqs)) == list(range(max(seqs) + 1)), boot
        assert list(dict.fromkeys(seqs)) == sorted(set(seqs)), boot
    used = {partition for each in agents for partition in found[each.boot_id]}
    assert used <= set(range(BEFORE))
    assert {
        partition for each in late for partition in found[each.boot_id]
    } - used  # new boots use the new ones


@pytest.mark.slow
def test_what_a_dead_process_left_goes_where_its_boot_is(broker, make_config, tmp_path):
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix="left")
    make_topics(kafka)

    def agent(number: int) -> Agent:
        config = make_config(
            kafka=kafka, replica_id=f"r{number}", spool=str(tmp_path / "spool"), stop_timeout_s=0.2
        )
        return Agent(config)

    dead = [agent(number) for number in range(6)]
    for each in dead:
        each.start()
        record(each, 3)
    until(lambda: all(sent(each) > 1 for each in dead), 30, "batches in Kafka")
    broker.kill()
    for each in dead:
        record(each, 4)
        each.stop()
    broker.start()
    add_partitions(kafka)
    heir = agent(0)
    heir.start()
    until(
        lambda: (
            sum(len(seqs) for boot in dead for seqs in read_partitions(kafka)[boot.boot_id].values())
            > sum(sent(each) for each in dead)
        ),
        60,
        "what was left",
    )
    until(lambda: not list((tmp_path / "spool").glob(f"{dead[0].boot_id}*")), 30, "an empty spool")
    heir.stop()
    found = read_partitions(kafka)
    for each in dead:
        (seqs,) = found[each.boot_id].values()
        assert sorted(set(seqs)) == list(range(max(seqs) + 1))
        assert max(seqs) + 1 > sent(each)
