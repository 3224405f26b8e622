"""Reads an offset range of a partition's Kafka log independently of the consumer group.

It joins no group and commits nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from endpoint_analytics.pipeline.core.chunks import Record, record_of
from endpoint_analytics.schemas.kafka.readable_fetches import make_readable

_MAX_RECORDS = 1_000
_WAIT_MS = 500


class LogMessage(NamedTuple):
    """A message of the Kafka log and its key."""

    record: Record
    key: bytes | None


class RangeReader:
    """Reads with an aiokafka client that has these settings."""

    def __init__(self, settings: Callable[[], Mapping[str, Any]]) -> None:
        self._settings = settings

    async def read(
        self, topic: str, partition: int, start: int, stop: int
    ) -> AsyncIterator[list[LogMessage]]:
        """Yield the messages of offsets [`start`, `stop`) in batches; fewer if the head of the log was deleted.

        Waits forever for a leader; raises aiokafka's KafkaError.
        """
        tp = TopicPartition(topic, partition)
        async with self._consumer() as consumer:
            consumer.assign([tp])
            begin = (await consumer.beginning_offsets([tp]))[tp]
            end = min(stop, (await consumer.end_offsets([tp]))[tp])
            consumer.seek(tp, max(start, begin))
            while await consumer.position(tp) < end:
                found = await consumer.getmany(tp, timeout_ms=_WAIT_MS, max_records=_MAX_RECORDS)
                yield [
                    LogMessage(record_of(message.offset, message.timestamp, message.value), message.key)
                    for message in found.get(tp, ())
                    if message.offset < end
                ]

    async def end_offset(self, topic: str, partition: int) -> int:
        """Return the offset after the partition's last message."""
        tp = TopicPartition(topic, partition)
        async with self._consumer() as consumer:
            return int((await consumer.end_offsets([tp]))[tp])

    def _consumer(self) -> _ReadableConsumer:
        return _ReadableConsumer(**self._settings(), enable_auto_commit=False, auto_offset_reset="earliest")


class _ReadableConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Skips unreadable batches without reporting them: the group's consumer does."""

    async def start(self) -> None:
        await super().start()
        make_readable(self, lambda *_: True)
