"""The broker supports what clients need: idempotence, transactions, groups, large messages."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.infra.local.kafka.settings import MESSAGE_MAX_BYTES


async def make(kafka: KafkaProcess, name: str, partitions: int = 1, **config: str) -> TopicPartition:
    spec = TopicSpec(name, partitions, retention_ms=3_600_000, config=config)
    await ensure_topics(kafka.bootstrap_servers, [spec])
    return TopicPartition(name, 0)


async def read(kafka: KafkaProcess, partition: TopicPartition, count: int) -> list[ConsumerRecord]:
    """`count` committed messages from the start."""
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=MESSAGE_MAX_BYTES,
    ) as consumer:
        consumer.assign([partition])
        return [await asyncio.wait_for(consumer.getone(), 20) for _ in range(count)]


def test_an_idempotent_producers_messages_carry_the_brokers_append_time(kafka: KafkaProcess) -> None:
    async def run() -> None:
        partition = await make(kafka, "append-time")
        before = int(time.time() * 1000)
        async with AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap_servers, enable_idempotence=True
        ) as producer:
            for number in range(3):
                await producer.send_and_wait(partition.topic, b"%d" % number, timestamp_ms=1)
        messages = await read(kafka, partition, 3)
        assert [(message.offset, message.value) for message in messages] == [(0, b"0"), (1, b"1"), (2, b"2")]
        for message in messages:
            assert message.timestamp_type == 1
            assert before <= message.timestamp <= time.time() * 1000

    asyncio.run(run())


def test_a_committed_transaction_is_read_and_an_aborted_one_is_not(kafka: KafkaProcess) -> None:
    async def run() -> None:
        partition = await make(kafka, "transactions")
        async with AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap_servers, transactional_id="tests"
        ) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(partition.topic, b"aborted")
            await producer.abort_transaction()
            async with producer.transaction():
                await producer.send_and_wait(partition.topic, b"committed")
        assert [message.value for message in await read(kafka, partition, 1)] == [b"committed"]

    asyncio.run(run())


def test_a_group_shares_partitions_and_continues_from_its_commits(kafka: KafkaProcess) -> None:
    def member() -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            "group-topic",
            bootstrap_servers=kafka.bootstrap_servers,
            group_id="group",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            heartbeat_interval_ms=100,
        )

    async def run() -> None:
        partition = await make(kafka, "group-topic", partitions=2)
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
            for value in (b"0", b"1", b"2"):
                await producer.send_and_wait(partition.topic, value, partition=0)
        async with member() as first:
            assert (await asyncio.wait_for(first.getone(), 20)).value == b"0"
            await first.commit({partition: OffsetAndMetadata(1, "")})
            async with asyncio.timeout(20), member() as second:
                while len(first.assignment()) != 1 or len(second.assignment()) != 1:
                    await first.getmany(timeout_ms=50)
                    await second.getmany(timeout_ms=50)
                assert first.assignment() != second.assignment()
        async with member() as later:
            assert (await asyncio.wait_for(later.getone(), 20)).value == b"1"

    asyncio.run(run())


def test_messages_of_megabytes_are_taken(kafka: KafkaProcess) -> None:
    async def run() -> None:
        partition = await make(kafka, "large")
        value = bytes(MESSAGE_MAX_BYTES - 1024)
        async with AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap_servers, max_request_size=MESSAGE_MAX_BYTES
        ) as producer:
            await producer.send_and_wait(partition.topic, value)
        assert [len(message.value) for message in await read(kafka, partition, 1)] == [len(value)]

    asyncio.run(run())


def test_sending_does_not_create_a_topic(kafka: KafkaProcess) -> None:
    async def run() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap_servers, request_timeout_ms=300
        ) as producer:
            with pytest.raises(KafkaError):
                await producer.send_and_wait("nobody-made-it", b"x")
        client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        await client.start()
        try:
            assert "nobody-made-it" not in await client.list_topics()
        finally:
            await client.close()

    asyncio.run(run())
