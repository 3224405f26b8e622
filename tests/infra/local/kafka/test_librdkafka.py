"""librdkafka with its defaults: it reads our agents' messages, and the worker counts its messages, in every codec.

Its default partitioner (CRC32) differs from Java's murmur2, which our agents use. Within each, a key's messages lie
together, and that is all that the worker needs.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, Message, Producer
from msgspec import structs
from tests.faults.rig import Parts, Rig

from endpoint_analytics.agents.delivery.outage import Outage
from endpoint_analytics.agents.delivery.producer import Outgoing
from endpoint_analytics.agents.delivery.producer import Producer as AgentProducer
from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.schemas.codec import decode_requests, encode
from endpoint_analytics.schemas.examples import REQUEST_BATCH
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.topics import REQUESTS, TOPIC_CONFIG

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Parts(tmp_path_factory.mktemp("librdkafka")) as parts:
        made = Rig(parts, "librdkafka")
        yield made
        made.close()


def read_all(servers: str, topic: str, count: int) -> list[Message]:
    """Return the first messages of a topic, read by a new group."""
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found: list[Message] = []
    end = time.monotonic() + 60
    try:
        while len(found) < count and time.monotonic() < end:
            found += [message for message in consumer.consume(count, timeout=1) if message.error() is None]
    finally:
        consumer.close()
    return found


def test_it_reads_what_our_agents_write(rig: Rig) -> None:
    config = rig.kafka_config()
    topic = REQUESTS.name(f"{rig.name}-read")  # which no worker reads
    asyncio.run(ensure_topics(config, [TopicSpec(topic, 4, REQUESTS.retention_ms, config=TOPIC_CONFIG)]))

    def batch(replica_id: str, seq: int) -> Outgoing:
        message = structs.replace(
            REQUEST_BATCH, namespace="rd", endpoint="e", replica_id=replica_id, boot_id="b1", seq=seq
        )
        return Outgoing(partition_key("rd", "e", replica_id), encode(message))

    sent = [batch(f"replica-{number % 5}", number // 5) for number in range(50)]

    async def send() -> None:
        producer = AgentProducer(config, None, Outage(config.bootstrap_servers))
        await producer.send_all(topic, sent, [("of", b"a test")])
        await producer.close(5)

    asyncio.run(send())
    found = read_all(config.bootstrap_servers, topic, len(sent))
    assert sorted((message.key(), message.value()) for message in found) == sorted(
        (message.key, message.value) for message in sent
    )
    assert {tuple(message.headers()) for message in found} == {(("of", b"a test"),)}
    assert {message.timestamp()[0] for message in found} == {TIMESTAMP_LOG_APPEND_TIME}
    for key in {message.key for message in sent}:
        mine = [message for message in found if message.key() == key]
        assert len({message.partition() for message in mine}) == 1
        assert [decode_requests(message.value()).seq for message in mine] == list(range(10))


@pytest.mark.parametrize("codec", CODECS)
def test_the_worker_counts_what_it_writes(rig: Rig, codec: str) -> None:
    if not rig.workers:
        rig.worker()
    fleet = rig.fleet(name=f"rd-{codec}", replicas=10, rate=20.0, hardware=False)
    producer = Producer(
        {"bootstrap.servers": rig.kafka_config().bootstrap_servers, "compression.type": codec}
    )
    failed: list[KafkaError] = []
    start_us = time.time_ns() // 1000 - 20 * 500_000
    for round_number in range(20):
        begin_us = start_us + round_number * 500_000
        for replica in fleet.replicas:
            for message in replica.step(begin_us, begin_us + 500_000):

                def delivered(error: KafkaError | None, stored: Message, done=message.stored) -> None:
                    failed.append(error) if error else done(stored.partition(), stored.offset())

                producer.produce(message.topic, message.value, message.key, on_delivery=delivered)
    assert producer.flush(60) == 0
    assert failed == []
    rig.verify(f"librdkafka writes with {codec}")
