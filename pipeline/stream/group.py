"""What a reader asks of the consumer group: the only place that knows Faust's consumer by its insides.

Faust says with which generation of the group it delivers, and does not promise that it delivers all: see `reader`.
"""

from __future__ import annotations

from typing import Any, Protocol

from aiokafka.errors import IllegalStateError
from faust.types import TP


class Group(Protocol):
    """The consumer group, as one worker sees it."""

    def generation(self) -> int:
        """Return the current generation: each rebalance begins a new one."""

    async def begin(self, topic: str, partition: int, delivered: int) -> int:
        """Return the offset at which this generation begins; `delivered` came first, and mostly it is that.

        Raises aiokafka's KafkaError.
        """

    def waits(self, topic: str, partition: int) -> bool:
        """Return whether messages of it were delivered that the reader has not taken."""

    def acknowledge(self, topic: str, partition: int, offset: int) -> None:
        """Let all to this offset be committed: it is stored."""

    def pause(self, topic: str, partition: int) -> None:
        """Fetch the partition no more for now."""

    async def fetch_from(self, topic: str, partition: int, offset: int) -> None:
        """Fetch the partition from this offset on, paused or not."""


class FaustGroup:
    """The group of a Faust app, whose consumer is the one of `transport`."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def generation(self) -> int:
        """Return the current generation."""
        return int(self._app.consumer_generation_id)

    async def begin(self, topic: str, partition: int, delivered: int) -> int:
        """Return what is committed, or where the log begins."""
        return int(await self._app.consumer.begin(TP(topic, partition), delivered))

    def waits(self, topic: str, partition: int) -> bool:
        """Look into the topic's queue."""
        return bool(self._app.consumer.waits(TP(topic, partition)))

    def acknowledge(self, topic: str, partition: int, offset: int) -> None:
        """Have Faust commit it the next time."""
        self._app.consumer.acknowledge(TP(topic, partition), offset)

    def pause(self, topic: str, partition: int) -> None:
        """Tell Faust, which drops what of it is under way."""
        self._app.consumer.pause_partitions({TP(topic, partition)})

    async def fetch_from(self, topic: str, partition: int, offset: int) -> None:
        """Seek and resume; where the partition is not ours any more, its new owner fetches it."""
        try:
            await self._app.consumer.seek_wait({TP(topic, partition): offset})
        except IllegalStateError:
            return
        self._app.consumer.resume_partitions({TP(topic, partition)})
