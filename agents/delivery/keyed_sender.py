"""Sends messages with many keys to one topic: in order, bounded in number, by one task.

The topic senders of a replica's own agent have one key each, and a spool; these messages have neither.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from endpoint_analytics.agents.delivery.producer import Headers, Outgoing, Producer, TooLargeError

MAX_WAITING = 50_000


class KeyedSender:
    """Sends to `topic`; on overflow the oldest message is dropped.

    `lose` is called for each dropped message, with the error if Kafka will never accept it, None on overflow.
    """

    def __init__(
        self,
        topic: str,
        producer: Producer,
        lose: Callable[[TooLargeError | None], None],
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._topic = topic
        self._producer = producer
        self._lose = lose
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[Outgoing, Headers]] = deque()
        self._filled = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, message: Outgoing, headers: Headers = ()) -> None:
        """Queue a message."""
        if len(self._waiting) >= self._max_waiting:
            self._waiting.popleft()
            self._lose(None)
        self._waiting.append((message, headers))
        self._idle.clear()
        self._filled.set()

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                while self._waiting:
                    await self._send(*self._waiting.popleft())
                self._idle.set()
        finally:
            await self._producer.close()

    async def drained(self) -> None:
        """Return once Kafka has all messages."""
        await self._idle.wait()

    async def _send(self, message: Outgoing, headers: Headers) -> None:
        try:
            await self._producer.send(self._topic, message, headers)
        except TooLargeError as error:
            self._lose(error)
