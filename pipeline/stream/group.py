"""A reader's view of the consumer group. Only this module and `transport` know Faust's consumer internals.

Faust reports the group generation of each delivery, but does not guarantee to deliver everything: see `stream_reader`.
"""

from __future__ import annotations

from typing import Any, Protocol

from aiokafka.errors import IllegalStateError
from faust.types import TP


class WorkerGroup(Protocol):
    """The consumer group, as one worker sees it."""

    def generation(self) -> int:
        """Return the current generation; each rebalance starts a new one."""

    async def start_offset(self, topic: str, partition: int, delivered: int) -> int:
        """Return the offset at which this generation begins: usually `delivered`, the first one that was delivered.

        Raises aiokafka's KafkaError.
        """

    def waits(self, topic: str, partition: int) -> bool:
        """Whether messages of the partition were delivered that the reader has not taken yet."""

    def acknowledge(self, topic: str, partition: int, offset: int) -> None:
        """Allow commits up to and including this offset: everything up to it is stored."""

    def pause(self, topic: str, partition: int) -> None:
        """Stop fetching the partition for now."""

    async def fetch_from(self, topic: str, partition: int, offset: int) -> None:
        """Fetch the partition from this offset on, even if it is paused."""


class FaustGroup:
    """The group of a Faust app whose consumer is the one in `transport`."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def generation(self) -> int:
        """Return the current generation."""
        return int(self._app.consumer_generation_id)

    async def start_offset(self, topic: str, partition: int, delivered: int) -> int:
        """Return the committed offset, or the start of the Kafka log."""
        return int(await self._app.consumer.start_offset(TP(topic, partition), delivered))

    def waits(self, topic: str, partition: int) -> bool:
        """Check the topic's queue."""
        return bool(self._app.consumer.waits(TP(topic, partition)))

    def acknowledge(self, topic: str, partition: int, offset: int) -> None:
        """Let Faust commit it at the next commit."""
        self._app.consumer.acknowledge(TP(topic, partition), offset)

    def pause(self, topic: str, partition: int) -> None:
        """Pause it in Faust, which drops its messages in flight."""
        self._app.consumer.pause_partitions({TP(topic, partition)})

    async def fetch_from(self, topic: str, partition: int, offset: int) -> None:
        """Seek and resume; if the partition is no longer ours, its new owner fetches it."""
        try:
            await self._app.consumer.seek_wait({TP(topic, partition): offset})
        except IllegalStateError:
            return
        self._app.consumer.resume_partitions({TP(topic, partition)})
