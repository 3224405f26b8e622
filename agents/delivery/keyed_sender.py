"""Sends messages with many keys to one topic: those of a partition in order, bounded in number.

The topic senders of a replica's own agent have one key each, and a spool; these messages have neither.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from endpoint_analytics.agents.delivery.partition_senders import PartitionSenders
from endpoint_analytics.agents.delivery.producer import (
    MOST_KEYS,
    Headers,
    Outgoing,
    Producer,
    TooLargeError,
)

MAX_WAITING = 50_000


@dataclass(frozen=True, slots=True, eq=False)
class _Queued:
    message: Outgoing
    headers: Headers


class KeyedSender:
    """Sends to `topic`; on overflow the oldest message is dropped of the partition that most messages wait for.

    `lose` is called for each dropped message, with the error if Kafka will never accept it, None on overflow.
    """

    def __init__(
        self,
        topic: str,
        make_producer: Callable[[], Producer],
        lose: Callable[[TooLargeError | None], None],
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._topic = topic
        self._lose = lose
        self._max_waiting = max_waiting
        self._waiting = 0
        self._unsent = 0
        self._partitions: dict[bytes, int] = {}
        self._queues: list[_PartitionQueue] = []
        self._senders: PartitionSenders[_Queued] = PartitionSenders(topic, make_producer, self._open)
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, message: Outgoing, headers: Headers = ()) -> None:
        """Queue a message."""
        if self._waiting >= self._max_waiting:
            self._drop_oldest()
        self._waiting += 1
        self._unsent += 1
        self._idle.clear()
        self._route(_Queued(message, headers))

    async def run(self) -> None:
        """Send until cancelled."""
        await self._senders.run(self._route, lambda: False)

    async def drained(self) -> None:
        """Return once Kafka has all messages."""
        await self._idle.wait()

    def _route(self, queued: _Queued) -> None:
        key = queued.message.key
        partition = self._partitions.get(key)
        if partition is None and (partition := self._senders.partition(key)) is not None:
            if len(self._partitions) >= MOST_KEYS:
                self._partitions.clear()
            self._partitions[key] = partition
        self._senders.put(queued, partition)

    def _drop_oldest(self) -> None:
        longest = max(self._queues, key=lambda queue: len(queue.waiting), default=None)
        if longest is not None and longest.waiting:
            longest.waiting.popleft()
        else:
            self._senders.take_back(next(iter(self._senders.unrouted)))
        self._waiting -= 1
        self._done()
        self._lose(None)

    def _open(self, producer: Producer) -> _PartitionQueue:
        self._queues.append(_PartitionQueue(producer, self._send))
        return self._queues[-1]

    async def _send(self, producer: Producer, queued: _Queued, partition: int) -> None:
        self._waiting -= 1
        try:
            message = queued.message._replace(partition=partition)
            await producer.send(self._topic, message, queued.headers)
        except TooLargeError as error:
            self._lose(error)
        self._done()

    def _done(self) -> None:
        self._unsent -= 1
        if not self._unsent:
            self._idle.set()


class _PartitionQueue:
    """What waits for one partition."""

    def __init__(
        self, producer: Producer, send: Callable[[Producer, _Queued, int], Coroutine[None, None, None]]
    ) -> None:
        self.waiting: deque[tuple[_Queued, int]] = deque()
        self._producer = producer
        self._send = send
        self._filled = asyncio.Event()

    def put(self, item: _Queued, partition: int) -> None:
        """Queue a message."""
        self.waiting.append((item, partition))
        self._filled.set()

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                while self.waiting:
                    await self._send(self._producer, *self.waiting.popleft())
        finally:
            await self._producer.close()
