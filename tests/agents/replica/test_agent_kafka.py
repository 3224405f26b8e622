"""The agent's shell on a real Kafka: in order and without gaps, through outages."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.support.waiting import until

from endpoint_analytics.agents.core.config import KafkaConfig
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.codec import decode_hardware, decode_replicas, decode_requests
from endpoint_analytics.schemas.requests import RequestBatch
from endpoint_analytics.schemas.topics import HARDWARE, REPLICAS, REQUESTS, TOPIC_CONFIG, Topic


def read_all(kafka: KafkaConfig, topic: Topic) -> list[tuple[bytes | None, bytes | None]]:
    """Return key and value of each message in the topic's one partition, in order."""

    async def read() -> list[tuple[bytes | None, bytes | None]]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partition = TopicPartition(topic.name(kafka.topic_prefix), 0)
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            messages = []
            while len(messages) < end:
                message = await asyncio.wait_for(consumer.getone(), 10)
                messages.append((message.key, message.value))
            return messages
        finally:
            await consumer.stop()

    return asyncio.run(read())


def read_batches(kafka: KafkaConfig) -> list[RequestBatch]:
    return [decode_requests(value) for _, value in read_all(kafka, REQUESTS)]


def record(agent: Agent, number: int) -> None:
    for _ in range(number):
        request = agent.recorder.arrive()
        request.respond(200)
        request.finish()


def without_repeats(batches: list[RequestBatch]) -> list[RequestBatch]:
    """The first message of each seq: a killed broker may have stored what it did not confirm."""
    first: dict[int, RequestBatch] = {}
    for batch in batches:
        assert first.setdefault(batch.seq, batch) == batch
    return list(first.values())


def check_complete(batches: list[RequestBatch], agent: Agent) -> None:
    """Every seq arrives once and in order, and the sums equal the agent's own totals."""
    assert [batch.seq for batch in batches] == list(range(len(batches)))
    assert {batch.boot_id for batch in batches} == {agent.boot_id}
    totals = agent.snapshot().totals
    assert batches[-1].totals == totals
    assert sum(len(batch.arrived.at_us) for batch in batches) == totals.arrived
    assert sum(len(batch.finished.at_us) for batch in batches) == totals.finished


def test_messages_arrive_in_order_and_stopping_flushes(kafka_config, make_config):
    agent = Agent(make_config(kafka=kafka_config, stop_timeout_s=10.0, hardware=True))
    agent.start()
    record(agent, 100)
    assert agent.enter("running")
    until(lambda: agent.snapshot().sent["requests"] >= 3)
    record(agent, 50)
    open_request = agent.recorder.arrive()
    agent.stop()
    assert agent.has_stopped

    batches = read_batches(kafka_config)
    check_complete(batches, agent)
    assert batches[-1].totals.arrived == 151
    assert batches[-1].totals.finished == 150
    assert batches[-1].oldest_pending_us > 0
    assert open_request.stage == 0
    assert {key for key, _ in read_all(kafka_config, REQUESTS)} == {b"acme/classifier/replica-1"}

    states = [decode_replicas(value) for _, value in read_all(kafka_config, REPLICAS)]
    assert [state.state for state in states] == ["initializing", "running", "terminated"]
    assert [state.at_us for state in states] == sorted(state.at_us for state in states)

    samples = [decode_hardware(value) for _, value in read_all(kafka_config, HARDWARE)]
    assert [sample.seq for sample in samples] == list(range(len(samples)))
    assert samples[0].replica["memory_used_bytes"][0] > 0


def test_an_idle_agent_sends_a_heartbeat(kafka_config, make_config):
    agent = Agent(make_config(kafka=kafka_config, stop_timeout_s=10.0))
    agent.start()
    until(lambda: agent.snapshot().sent["requests"] >= 5)
    agent.stop()
    batches = read_batches(kafka_config)
    check_complete(batches, agent)
    assert not any(batch.events for batch in batches)
    for before, after in itertools.pairwise(batches):
        assert after.start_us == before.end_us


def test_each_start_is_another_boot(kafka_config, make_config):
    agents = [Agent(make_config(kafka=kafka_config, stop_timeout_s=10.0)) for _ in range(2)]
    for agent in agents:
        agent.start()
        agent.stop()
    batches = read_batches(kafka_config)
    # A second batch follows where starting and stopping takes longer than a second.
    assert list(dict.fromkeys(batch.boot_id for batch in batches)) == [agent.boot_id for agent in agents]
    for agent in agents:
        numbers = [batch.seq for batch in batches if batch.boot_id == agent.boot_id]
        assert numbers == list(range(len(numbers)))


def test_a_batch_too_large_for_the_broker_is_dropped_and_counted(kafka, make_config):
    config = KafkaConfig(bootstrap_servers=kafka.bootstrap_servers, topic_prefix="too-large")
    small = {**TOPIC_CONFIG, "max.message.bytes": "4000"}
    specs = [
        TopicSpec(topic.name(config.topic_prefix), 1, topic.retention_ms, config=small)
        for topic in (REQUESTS, REPLICAS, HARDWARE)
    ]
    asyncio.run(ensure_topics(config.bootstrap_servers, specs))
    agent = Agent(make_config(kafka=config, stop_timeout_s=10.0))
    agent.start()
    until(lambda: agent.snapshot().sent["requests"] >= 1)
    record(agent, 2_000)
    until(lambda: agent.snapshot().dropped["requests"] != {})
    sent = agent.snapshot().sent["requests"]
    until(lambda: agent.snapshot().sent["requests"] > sent)
    agent.stop()
    batches = read_batches(config)
    seqs = [batch.seq for batch in batches]
    dropped = agent.snapshot().dropped["requests"]["too_large"]
    assert len(seqs) == len(set(seqs)) == seqs[-1] + 1 - dropped
    assert batches[-1].totals.dropped_batches == {"too_large": dropped}
    assert batches[-1].totals.arrived == 2_000


def test_topics_that_are_made_later(kafka, make_config):
    config = KafkaConfig(bootstrap_servers=kafka.bootstrap_servers, topic_prefix="made-later")
    agent = Agent(make_config(kafka=config, stop_timeout_s=20.0))
    agent.start()
    record(agent, 10)
    until(lambda: agent.snapshot().flushes >= 10)
    assert agent.snapshot().sent["requests"] == 0
    specs = [
        TopicSpec(topic.name(config.topic_prefix), 1, topic.retention_ms, config=TOPIC_CONFIG)
        for topic in (REQUESTS, REPLICAS, HARDWARE)
    ]
    asyncio.run(ensure_topics(config.bootstrap_servers, specs))
    until(lambda: agent.snapshot().sent["requests"] >= 1)
    agent.stop()
    check_complete(read_batches(config), agent)


@pytest.mark.slow
def test_kafka_away_at_the_start_then_killed_and_started_again(tmp_path, make_config):
    """Two agents run through it, one with a spool: neither loses, changes or reorders anything."""
    broker = KafkaProcess(tmp_path / "kafka", port=free_port("127.0.0.1"))
    spools = {"plain": "", "spooled": str(tmp_path / "spool")}
    kafka = {
        name: KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix=name) for name in spools
    }
    agents = {
        name: Agent(make_config(kafka=kafka[name], spool=spool, stop_timeout_s=20.0))
        for name, spool in spools.items()
    }

    def wait_for_all(true: Callable[[Agent], bool]) -> None:
        until(lambda: all(true(agent) for agent in agents.values()))

    def record_all() -> None:
        for agent in agents.values():
            record(agent, 100)

    def figures() -> tuple[dict[str, int], dict[str, int]]:
        snapshots = {name: agent.snapshot() for name, agent in agents.items()}
        flushes = {name: snapshot.flushes for name, snapshot in snapshots.items()}
        return flushes, {name: snapshot.sent["requests"] for name, snapshot in snapshots.items()}

    try:
        for agent in agents.values():
            agent.start()
        record_all()
        wait_for_all(lambda agent: agent.snapshot().flushes >= 8)
        assert figures()[1] == {"plain": 0, "spooled": 0}
        wait_for_all(lambda agent: agent.snapshot().waiting["requests"] >= 3)
        until(lambda: agents["spooled"].snapshot().spool.waiting.get("requests", 0) >= 3)

        broker.start()
        specs = [
            TopicSpec(topic.name(config.topic_prefix), 1, topic.retention_ms, config=TOPIC_CONFIG)
            for topic in (REQUESTS, REPLICAS, HARDWARE)
            for config in kafka.values()
        ]
        asyncio.run(ensure_topics(broker.bootstrap_servers, specs))
        wait_for_all(lambda agent: agent.snapshot().sent["requests"] >= 5)
        until(lambda: agents["spooled"].snapshot().spool.bytes == 0)
        record_all()
        broker.kill()
        flushes, _ = figures()
        record_all()
        until(lambda: all(now >= flushes[name] + 10 for name, now in figures()[0].items()))
        until(lambda: agents["spooled"].snapshot().spool.waiting.get("requests", 0) >= 3)
        broker.start()
        _, sent = figures()
        until(lambda: all(now >= sent[name] + 5 for name, now in figures()[1].items()))
        record_all()
        for name, agent in agents.items():
            agent.stop()
            check_complete(without_repeats(read_batches(kafka[name])), agent)
            assert agent.snapshot().totals.arrived == 400
            assert agent.snapshot().dropped["requests"] == {}
            states = [decode_replicas(value).state for _, value in read_all(kafka[name], REPLICAS)]
            assert states == ["initializing", "terminated"]
        assert list((tmp_path / "spool").iterdir()) == []
    finally:
        broker.stop()
