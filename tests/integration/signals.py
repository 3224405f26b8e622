"""The contents of the topic of autoscaling signals, read from its beginning."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.support.parts import Stack

from endpoint_analytics.schemas.codec import decode_signal
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.signals import AutoscalingSignal
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX, SIGNALS

TOPIC = SIGNALS.name(DEFAULT_PREFIX)


@dataclass(frozen=True)
class Stored:
    """A signal, and when the broker appended it."""

    signal: AutoscalingSignal
    append_us: int


def signals_sender(stack: Stack, name: str = "signals", every_s: int = 1):
    return stack.child(name, "signals", "--every", str(every_s), ready="signals ready")


def read_signals(stack: Stack, namespace: str) -> list[Stored]:
    """Return the namespace's signals, oldest first."""
    return asyncio.run(_read(stack, namespace))


async def _read(stack: Stack, namespace: str) -> list[Stored]:
    found = []
    async with AIOKafkaConsumer(bootstrap_servers=stack.kafka.bootstrap_servers) as consumer:
        partitions = [TopicPartition(TOPIC, number) for number in range(stack.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        signal = decode_signal(record.value)
                        assert record.key == partition_key(signal.namespace, signal.endpoint)
                        found.append(Stored(signal, record.timestamp * 1000))
    return sorted(
        (stored for stored in found if stored.signal.namespace == namespace),
        key=lambda stored: stored.append_us,
    )
