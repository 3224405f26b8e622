"""Sends replica states: in order, bounded in number, by a task of its own, so what Kafka refuses delays no request."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable

from endpoint_analytics.agents.delivery.producer import Outgoing, Producer, TooLargeError
from endpoint_analytics.agents.otlp.replicas import Message

logger = logging.getLogger("endpoint_analytics")

MAX_WAITING = 50_000


class StateSender:
    """Sends to `topic`; on overflow the oldest state is dropped and counted in `lost`."""

    def __init__(self, topic: str, producer: Producer, max_waiting: int = MAX_WAITING) -> None:
        self.lost = 0
        self._topic = topic
        self._producer = producer
        self._waiting: deque[Message] = deque()
        self._max_waiting = max_waiting
        self._filled = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, messages: Iterable[Message]) -> None:
        """Queue states."""
        for message in messages:
            if len(self._waiting) >= self._max_waiting:
                self._waiting.popleft()
                self._count_lost("too many wait for Kafka")
            self._waiting.append(message)
            self._idle.clear()
            self._filled.set()

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                while self._waiting:
                    await self._send(self._waiting.popleft())
                self._idle.set()
        finally:
            await self._producer.close()

    async def drained(self) -> None:
        """Return once Kafka has all states."""
        await self._idle.wait()

    async def _send(self, message: Message) -> None:
        try:
            await self._producer.send(self._topic, Outgoing(message.key, message.value))
        except TooLargeError as error:
            self._count_lost(str(error))

    def _count_lost(self, why: str) -> None:
        if not self.lost:
            logger.warning("a replica state is lost; further ones are only counted: %s", why)
        self.lost += 1
