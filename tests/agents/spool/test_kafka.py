"""The spool with real processes and a real Kafka: kill -9 during an outage and during a replay.

An outage without a kill is in test_agent_kafka.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.support.waiting import until

from endpoint_analytics.agents.core.batching import Batcher
from endpoint_analytics.agents.core.config import AgentConfig, KafkaConfig
from endpoint_analytics.agents.core.recorder import Recorder
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.spool.segments import Numbered, read_segment
from endpoint_analytics.agents.spool.spool import Spool
from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.codec import decode_requests, encode
from endpoint_analytics.schemas.topics import HARDWARE, REPLICAS, REQUESTS, TOPIC_CONFIG

REPLICA = Path(__file__).with_name("replica.py")


def read_batches(kafka):
    async def read():
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partition = TopicPartition(REQUESTS.name(kafka.topic_prefix), 0)
            consumer.assign([partition])
            end = (await consumer.end_offsets([partition]))[partition]
            return [(await asyncio.wait_for(consumer.getone(), 10)).value for _ in range(end)]
        finally:
            await consumer.stop()

    return [decode_requests(value) for value in asyncio.run(read())]


def make_topics(kafka):
    specs = [
        TopicSpec(topic.name(kafka.topic_prefix), 1, topic.retention_ms, config=TOPIC_CONFIG)
        for topic in (REQUESTS, HARDWARE, REPLICAS)
    ]
    asyncio.run(ensure_topics(kafka.bootstrap_servers, specs))


def record(agent, number):
    for _ in range(number):
        request = agent.recorder.arrive()
        request.respond(200)
        request.finish()


@contextmanager
def replica(kafka, spool, **settings):
    """Run replica.py; yields a function for its next line; at the end it is killed."""
    environment = {
        **os.environ,
        "ENDPOINT_ANALYTICS_NAMESPACE": "acme",
        "ENDPOINT_ANALYTICS_ENDPOINT": "classifier",
        "ENDPOINT_ANALYTICS_REPLICA_ID": "replica-1",
        "ENDPOINT_ANALYTICS_KAFKA": kafka.bootstrap_servers,
        "ENDPOINT_ANALYTICS_TOPIC_PREFIX": kafka.topic_prefix,
        "ENDPOINT_ANALYTICS_SPOOL": str(spool),
        "ENDPOINT_ANALYTICS_FLUSH_INTERVAL_S": "0.02",
        **settings,
    }
    process = subprocess.Popen(
        [sys.executable, str(REPLICA)], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        yield lambda: json.loads(process.stdout.readline())
    finally:
        process.kill()  # SIGKILL
        process.wait()
        process.stdout.close()


def on_disk(spool):
    """Return boot and seq of each request batch in the spool, in order."""
    found = []
    for path in sorted(spool.glob("*/requests-*.spool")):
        for item in read_segment(path).records:
            batch = decode_requests(item.message)
            found.append((batch.boot_id, batch.seq))
    return found


@pytest.fixture
def broker(tmp_path):
    """A broker whose address is known, and which is down."""
    process = KafkaProcess(tmp_path / "kafka", port=free_port("127.0.0.1"))
    yield process
    process.stop()


def test_killed_while_kafka_is_away_nothing_cut_is_lost(broker, tmp_path):
    """Two processes share a directory, as uvicorn's workers do; both are killed, and one takes over from both."""
    kafka = KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix="killed")
    spool = tmp_path / "not" / "there" / "yet"
    last = []
    with replica(kafka, spool) as first, replica(kafka, spool) as second:
        for next_line in (first, second):
            while (reported := next_line())["spooled"] < 15:
                pass
            last.append(reported)
    waiting = on_disk(spool)
    for reported in last:
        seqs = [seq for boot_id, seq in waiting if boot_id == reported["boot_id"]]
        assert seqs == list(range(len(seqs)))
        assert len(seqs) >= reported["spooled"]

    broker.start()
    make_topics(kafka)
    with replica(kafka, spool) as next_line:
        while (after := next_line())["adopted_bytes"] or not after["sent"] or on_disk(spool):
            pass
    batches = read_batches(kafka)
    for reported in last:
        old = [batch for batch in batches if batch.boot_id == reported["boot_id"]]
        expected = [place for place in waiting if place[0] == reported["boot_id"]]
        assert [(batch.boot_id, batch.seq) for batch in old] == expected
        accepted = old[-1].totals.arrived
        assert accepted == sum(len(batch.arrived.at_us) for batch in old) >= reported["arrived"] - 10
    new = [batch.seq for batch in batches if batch.boot_id == after["boot_id"]]
    assert new == list(range(len(new)))


def test_while_kafka_is_well_nothing_is_written(kafka_config, make_config, tmp_path):
    directory = tmp_path / "spool"
    agent = Agent(make_config(kafka=kafka_config, spool=str(directory), stop_timeout_s=10.0))
    agent.start()
    until(lambda: agent.snapshot().sent["requests"] >= 1)
    already = sorted(directory.iterdir())  # the first connection may have taken its time
    record(agent, 10)
    sent = agent.snapshot().sent["requests"]
    until(lambda: agent.snapshot().sent["requests"] >= sent + 20)
    assert sorted(directory.iterdir()) == already
    assert agent.snapshot().spool.bytes == 0
    agent.stop()


def fill(directory, kafka, boots, batches):
    """Create a spool of dead boots, as their processes would have left it; returns (boot, seq) of each batch."""
    config = AgentConfig(namespace="acme", endpoint="classifier", replica_id="replica-1")
    left = []
    for boot_id in boots:
        spool = Spool(
            directory, boot_id, kafka.topic_prefix, b"acme/classifier/replica-1", 2**22, drop_newest=False
        )
        batcher, recorder = Batcher(config, boot_id), Recorder()
        messages = []
        for number in range(1, batches + 1):
            for _ in range(40):
                request = recorder.arrive()
                request.respond(200)
                request.finish()
            (batch,) = batcher.batches(recorder.snapshot(), time.time_ns() // 1_000, {}, {})
            messages.append(Numbered(number, encode(batch)))
            left.append((boot_id, batch.seq))
        while messages:
            messages = messages[len(spool.append(REQUESTS.suffix, messages).run) :]
        spool.close()
    return left


def test_killed_twice_in_the_middle_of_a_replay_everything_is_there(kafka_config, tmp_path):
    left = fill(tmp_path / "spool", kafka_config, ["boot-a", "boot-b"], 500)
    whole = sum(path.stat().st_size for path in tmp_path.glob("spool/*/*.spool"))
    for part in (0.8, 0.4, 0.0):
        with replica(kafka_config, tmp_path / "spool") as next_line:
            while (reported := next_line())["adopted_bytes"] > part * whole or not reported["sent"]:
                pass
            if part:
                assert reported["adopted_bytes"] > 0
            else:
                boots = {*dict(left), reported["boot_id"]}
    came = Counter((batch.boot_id, batch.seq) for batch in read_batches(kafka_config))
    assert all(came[place] for place in left)
    assert boots <= {boot for boot, _ in came}
