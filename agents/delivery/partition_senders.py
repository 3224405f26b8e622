"""One sender for each partition of a topic, so that a partition without a leader holds up no other.

Each sends by a task and a connection of its own. A key's messages go to the partition that Kafka's own clients choose;
until Kafka has said how many partitions there are, items wait here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Generic, Protocol, TypeVar

from endpoint_analytics.agents.delivery.producer import Producer, partition_of
from endpoint_analytics.agents.delivery.topic_sender import cancel_all

REFRESH_S = 30.0
"""How soon partitions that are added to the topic are used, by keys that had none yet."""
MAX_SENDERS = 64
"""Most senders, and so connections: partitions of a topic that has more of them share some."""

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)


class PartitionSender(Protocol[Item_contra]):
    """Sends what is put in, in order."""

    def put(self, item: Item_contra, partition: int) -> None:
        """Queue an item for the partition."""

    def run(self) -> Coroutine[None, None, None]:
        """Send until cancelled, or until its owner says that nothing more will come."""


class PartitionSenders(Generic[Item]):
    """Of `topic`; `open_sender` makes a partition's sender when its first item comes. Items are told by identity."""

    def __init__(
        self,
        topic: str,
        make_producer: Callable[[], Producer],
        open_sender: Callable[[Producer], PartitionSender[Item]],
    ) -> None:
        self._topic = topic
        self._make_producer = make_producer
        self._open_sender = open_sender
        self._partitions: list[int] = []
        self._unrouted: dict[Item, None] = {}
        self._senders: dict[int, PartitionSender[Item]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()

    @property
    def unrouted(self) -> Iterable[Item]:
        """The items that wait until the partitions are known, oldest first."""
        return self._unrouted

    def partition(self, key: bytes) -> int | None:
        """Return the partition of a key that has no messages yet; None while the partitions are unknown."""
        return partition_of(key, self._partitions) if self._partitions else None

    def sender(self, partition: int) -> PartitionSender[Item] | None:
        """Return the partition's sender, if it has one yet."""
        return self._senders.get(partition % MAX_SENDERS)

    def put(self, item: Item, partition: int | None) -> None:
        """Pass an item on to the sender of `partition`; without one it waits until they are known."""
        if partition is None:
            self._unrouted[item] = None
            return
        number = partition % MAX_SENDERS
        if number not in self._senders:
            sender = self._senders[number] = self._open_sender(self._make_producer())
            self._start(sender.run())
        self._senders[number].put(item, partition)

    def take_back(self, item: Item) -> bool:
        """Forget an item that no sender has yet; returns whether it was there."""
        if item not in self._unrouted:
            return False
        del self._unrouted[item]
        return True

    async def run(self, route: Callable[[Item], None], is_finished: Callable[[], bool]) -> None:
        """Send until cancelled, or until `is_finished` and every sender has ended; a sender's bug is raised.

        `route` is called for each item that waited, once the partitions are known, and puts it in again.
        """
        self._start(self._ask(route))
        try:
            while True:
                self._changed.clear()
                for task in self._tasks:
                    if task.done():
                        task.result()
                if is_finished() and not self._unrouted and all(task.done() for task in self._tasks[1:]):
                    return
                await self._changed.wait()
        finally:
            await cancel_all(self._tasks)

    def wake(self) -> None:
        """Let `run` ask again whether it is finished."""
        self._changed.set()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self._changed.set())
        self._tasks.append(task)

    async def _ask(self, route: Callable[[Item], None]) -> None:
        asking = self._make_producer()
        try:
            while True:
                self._partitions = await asking.partitions(self._topic)
                waited = list(self._unrouted)
                self._unrouted.clear()
                for item in waited:
                    route(item)
                self._changed.set()
                await asyncio.sleep(REFRESH_S)
        finally:
            await asking.close()
