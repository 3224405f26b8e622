"""Reads a stretch of a partition's log beside the consumer group: what was read before, or what has come since.

It takes part in no group, and commits nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from endpoint_analytics.pipeline.core.chunks import Record, record_of
from endpoint_analytics.pipeline.stream.readable_fetches import make_readable

_AT_ONCE = 1_000
_WAIT_MS = 500


class LogMessage(NamedTuple):
    """A message of the log, and the key under which it was sent."""

    record: Record
    key: bytes | None


class LogReader:
    """Reads from the brokers that aiokafka's client reaches with these settings."""

    def __init__(self, settings: Callable[[], Mapping[str, Any]]) -> None:
        self._settings = settings

    async def read(
        self, topic: str, partition: int, start: int, stop: int
    ) -> AsyncIterator[list[LogMessage]]:
        """Yield the messages from offset `start` to before `stop`, some at a time; fewer where the log's head is gone.

        Waits for ever for a leader; raises aiokafka's KafkaError.
        """
        place = TopicPartition(topic, partition)
        async with self._consumer() as consumer:
            consumer.assign([place])
            begin = (await consumer.beginning_offsets([place]))[place]
            end = min(stop, (await consumer.end_offsets([place]))[place])
            consumer.seek(place, max(start, begin))
            while await consumer.position(place) < end:
                found = await consumer.getmany(place, timeout_ms=_WAIT_MS, max_records=_AT_ONCE)
                yield [
                    LogMessage(record_of(message.offset, message.timestamp, message.value), message.key)
                    for message in found.get(place, ())
                    if message.offset < end
                ]

    async def end_offset(self, topic: str, partition: int) -> int:
        """Return the offset behind the partition's last message."""
        place = TopicPartition(topic, partition)
        async with self._consumer() as consumer:
            return int((await consumer.end_offsets([place]))[place])

    def _consumer(self) -> _ReadableConsumer:
        return _ReadableConsumer(**self._settings(), enable_auto_commit=False, auto_offset_reset="earliest")


class _ReadableConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """What cannot be read is passed over: the consumer of the group reports it."""

    async def start(self) -> None:
        await super().start()
        make_readable(self, lambda *_: True)
