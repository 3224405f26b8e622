"""A real Kafka that is cut off: what is counted once then, by one receiver and by two behind a load balancer."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.agents.otlp.exports import NAMES
from tests.agents.otlp.receiving import Running, body_of, in_a_loop, post, running
from tests.faults.kafka_proxy import KafkaProxy

from endpoint_analytics.agents.otlp.settings import Limits
from endpoint_analytics.schemas.codec import decode_requests
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.topics import REQUESTS

LIMITS = Limits(answer_s=2.0)


async def arrived(kafka: KafkaConfig) -> dict[str, int]:
    """Return how many requests of each replica are in the topic; a batch that was sent twice counts once."""
    partition = TopicPartition(REQUESTS.name(kafka.topic_prefix), 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    batches = {}
    async with consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            batch = decode_requests((await consumer.getone()).value)
            batches[batch.boot_id, batch.seq] = batch
    counts: Counter[str] = Counter()
    for batch in batches.values():
        counts[batch.replica_id] += len(batch.arrived.at_us)
    return dict(counts)


def body(replica: str, *numbers: int) -> bytes:
    return body_of(*numbers, names=NAMES | {"service.instance.id": replica})


async def until_sent(*receivers: Running) -> None:
    async with asyncio.timeout(60):
        while any(each.delivery.waiting for each in receivers):
            await asyncio.sleep(0.02)


async def send(receiver: Running, export: bytes) -> None:
    """Export until it is confirmed."""
    async with asyncio.timeout(60):
        while (await post(receiver.url, export))[0] != 200:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("unconfirmed", "times"), [("return", 1), ("keep", 2)])
@in_a_loop
async def test_an_export_that_goes_from_one_receiver_to_another(
    kafka_config: KafkaConfig, unconfirmed: str, times: int
) -> None:
    """It counts once where each receiver leaves it to its exporter; to keep it is for a single receiver."""
    with KafkaProxy(kafka_config.bootstrap_servers) as proxy:
        through = replace(kafka_config, bootstrap_servers=proxy.bootstrap_servers)
        async with AsyncExitStack() as stack:
            receivers = [
                await stack.enter_async_context(running(through, limits=LIMITS, unconfirmed=unconfirmed))
                for _ in range(2)
            ]
            for number, each in enumerate(receivers):
                assert (await post(each.url, body("warm", number + 1)))[0] == 200
            proxy.shut()
            for each in receivers:
                assert (await post(each.url, body("moved", 1, 2, 3)))[0] == 503
            proxy.open()
            await until_sent(*receivers)
            for _ in range(2):
                await send(receivers[0], body("moved", 1, 2, 3))
    assert await arrived(kafka_config) == {"warm": 2, "moved": 3 * times}


@pytest.mark.parametrize("unconfirmed", ["return", "keep"])
@in_a_loop
async def test_one_receiver_counts_once_whatever_is_remembered(
    kafka_config: KafkaConfig, unconfirmed: str
) -> None:
    """No more wait for Kafka than are remembered when it has stored them, since all of them come again."""
    with KafkaProxy(kafka_config.bootstrap_servers) as proxy:
        through = replace(kafka_config, bootstrap_servers=proxy.bootstrap_servers)
        async with running(through, limits=LIMITS, unconfirmed=unconfirmed, remember=200) as receiver:
            assert (await post(receiver.url, body("r", 1)))[0] == 200
            proxy.shut()
            exports = [body("r", *range(first, first + 50)) for first in range(100, 400, 50)]
            for _ in range(2):
                answers = await asyncio.gather(*(post(receiver.url, each) for each in exports))
                assert {status for status, *_ in answers} <= {429, 503}
            proxy.open()
            for each in exports:
                await send(receiver, each)
            await until_sent(receiver)
    assert await arrived(kafka_config) == {"r": 301}
