"""Three brokers without replication, one of which is killed: only replicas of its partitions have to wait."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.agents.otlp.exports import NAMES
from tests.agents.otlp.receiving import Running, body_of, in_a_loop, post, running
from tests.support.kafka_cluster import Cluster

from endpoint_analytics.agents.delivery.producer import partition_of
from endpoint_analytics.agents.otlp import partition_delivery, replicas
from endpoint_analytics.agents.otlp.identity import Identity
from endpoint_analytics.agents.otlp.settings import Limits
from endpoint_analytics.schemas.codec import decode_replicas, decode_requests
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.topics import REPLICAS, REQUESTS, TOPIC_CONFIG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PARTITIONS = [0, 1, 2]
KILLED = 1
"""The partition, and the index of its broker."""
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as running_cluster:
        yield running_cluster


@pytest.fixture
def kafka(cluster: Cluster) -> KafkaConfig:
    """Topics whose partition n is on broker n alone."""
    prefix = f"leaderless-{next(numbers)}"
    asyncio.run(make_topics(cluster, [REQUESTS.name(prefix), REPLICAS.name(prefix)]))
    return KafkaConfig(bootstrap_servers=cluster.bootstrap_servers, topic_prefix=prefix)


async def make_topics(cluster: Cluster, names: list[str]) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)
    await client.start()
    try:
        assignments = {number: [number + 1] for number in PARTITIONS}
        config = TOPIC_CONFIG | {"min.insync.replicas": "1"}
        answer = await client.create_topics(
            [NewTopic(name, -1, -1, replica_assignments=assignments, topic_configs=config) for name in names]
        )
        assert {each["error_code"] for each in answer.to_object()["topic_errors"]} == {0}
    finally:
        await client.close()


def replica_in(partition: int, number: int = 0) -> str:
    """Return the name of a replica whose messages go to the partition; `number` says which of them."""
    names = (f"r{each}" for each in itertools.count())
    found = (
        name for name in names if partition_of(partition_key("acme", "shop", name), PARTITIONS) == partition
    )
    return next(itertools.islice(found, number, None))


async def send(receiver: Running, replica: str) -> int:
    """Export a span of a replica; return the answer's status."""
    names = NAMES | {"service.instance.id": replica}
    return (await post(receiver.url, body_of(next(numbers), names=names)))[0]


async def read(kafka: KafkaConfig, topic: str) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    async with consumer:
        partitions = [TopicPartition(topic, number) for number in PARTITIONS]
        consumer.assign(partitions)
        ends, found = await consumer.end_offsets(partitions), []
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                for messages in (await consumer.getmany(timeout_ms=100)).values():
                    found += [message.value for message in messages]
        return found


async def arrived(kafka: KafkaConfig) -> dict[str, int]:
    """Return how many requests of each replica are in the topic; a batch that was sent twice counts once."""
    batches = [decode_requests(value) for value in await read(kafka, REQUESTS.name(kafka.topic_prefix))]
    distinct = {(batch.boot_id, batch.seq): batch for batch in batches}.values()
    counts: Counter[str] = Counter()
    for batch in distinct:
        counts[batch.replica_id] += len(batch.arrived.at_us)
    return dict(counts)


@in_a_loop
async def test_other_partitions_go_on(cluster: Cluster, kafka: KafkaConfig) -> None:
    """With requests, and with states, and most of the queue; when the broker is back, what waited is sent, once."""
    far, near = replica_in(KILLED), replica_in(KILLED + 1)
    async with running(kafka, limits=Limits(answer_s=5.0), max_waiting=4) as receiver:
        assert [await send(receiver, name) for name in (far, near)] == [200, 200]
        await asyncio.to_thread(cluster.brokers[KILLED].kill)
        try:
            assert [await send(receiver, far) for _ in range(3)] == [503, 503, 429]
            new = [replica_in(KILLED + 1, number) for number in range(1, 6)]
            assert [await send(receiver, name) for name in (near, *new)] == [200] * 6
            states = await read_led(kafka, REPLICAS.name(kafka.topic_prefix), len(new) + 1)
            assert {decode_replicas(state).replica_id for state in states} == {near, *new}
            assert receiver.delivery.waiting == 2
        finally:
            await asyncio.to_thread(cluster.brokers[KILLED].start)
        async with asyncio.timeout(120):
            while receiver.delivery.waiting:
                await asyncio.sleep(0.05)
    assert await arrived(kafka) == {far: 3, near: 2, **dict.fromkeys(new, 1)}


async def read_led(kafka: KafkaConfig, topic: str, number: int) -> list[bytes]:
    """Return the first messages of the partition next to the killed broker's."""
    partition = TopicPartition(topic, KILLED + 1)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    async with consumer, asyncio.timeout(60):
        consumer.assign([partition])
        return [(await consumer.getone()).value for _ in range(number)]


@in_a_loop
async def test_what_an_exporter_may_take_elsewhere_is_taken_whole_or_not_at_all(
    cluster: Cluster, kafka: KafkaConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export of two replicas, one of which cannot be stored, is refused: another receiver may count all of it.

    Heartbeats tell that, too, so nothing of an export has to be tried.
    """
    monkeypatch.setattr(partition_delivery, "STALLED_AFTER_S", 1.0)
    monkeypatch.setattr(replicas, "HEARTBEAT_US", 0)
    far, near = replica_in(KILLED), replica_in(KILLED + 1)
    both = b"".join(
        body_of(next(numbers), names=NAMES | {"service.instance.id": name}) for name in (far, near)
    )
    async with running(kafka, limits=Limits(answer_s=2.0), unconfirmed="return") as receiver:
        assert [await send(receiver, name) for name in (far, near)] == [200, 200]
        await asyncio.to_thread(cluster.brokers[KILLED].kill)
        try:
            async with asyncio.timeout(60):
                while not receiver.delivery.are_stalled([Identity("acme", "shop", far)]):
                    await asyncio.sleep(0.05)
            for _ in range(3):
                status, _, answer = await post(receiver.url, both)
                assert (status, b"Kafka stores nothing in a partition" in answer) == (503, True)
            assert await send(receiver, near) == 200
        finally:
            await asyncio.to_thread(cluster.brokers[KILLED].start)
        async with asyncio.timeout(120):
            while (await post(receiver.url, both))[0] != 200:
                await asyncio.sleep(0.05)
    assert await arrived(kafka) == {far: 2, near: 3}
