"""A topic sender: one topic's outbox and the task that empties it into Kafka, in order, one message at a time.

Senders do not wait for each other: a topic that Kafka refuses does not delay the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from endpoint_analytics.agents.delivery.outbox import Outbox
from endpoint_analytics.agents.delivery.producer import Outgoing, Producer, TooLargeError

logger = logging.getLogger("endpoint_analytics")


class TopicSender:
    """Sends to `topic` with `key`. All calls come from the agent's event loop."""

    def __init__(self, topic: str, key: bytes, outbox: Outbox, producer: Producer) -> None:
        self.topic = topic
        self.outbox = outbox
        self.sent = 0
        self._key = key
        self._producer = producer
        self._filled = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """Number of messages that Kafka has not stored, not counting one in flight."""
        return len(self.outbox)

    @property
    def unsent(self) -> int:
        """Number of messages that Kafka has not stored, including the one in flight."""
        return 0 if self._idle.is_set() else self.waiting + 1

    @property
    def dropped(self) -> Mapping[str, int]:
        """Dropped messages by reason."""
        return self.outbox.dropped

    def put(self, message: bytes) -> None:
        """Queue a message; messages are sent in the order in which they were queued."""
        self.outbox.put(message)
        if self.outbox:
            self._idle.clear()
            self._filled.set()

    def tasks(self) -> tuple[Coroutine[None, None, None], ...]:
        """Return the coroutines to run; they run until cancelled."""
        return (self._run(),)

    async def _run(self) -> None:
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                while self.outbox:
                    await self._send(self.outbox.take())
                self._idle.set()
        finally:
            await self._producer.close()

    async def _send(self, message: bytes) -> None:
        try:
            await self._producer.send(self.topic, Outgoing(self._key, message))
        except TooLargeError as error:
            self.outbox.count_dropped("too_large")
            logger.warning("dropped a message that is too large for Kafka: %s", error)
        else:
            self.sent += 1

    async def drained(self) -> None:
        """Return once every queued message is stored (or counted as dropped)."""
        await self._idle.wait()

    async def saved(self) -> None:
        """Return at once: without a spool there is nothing to save."""


async def cancel_all(tasks: Sequence[asyncio.Task[Any]], tries: int = 10) -> None:
    """Cancel repeatedly until the tasks have ended.

    In Python 3.11, `asyncio.wait_for`, which the Kafka client uses, may swallow a cancellation.
    """
    for _ in range(tries):
        for task in tasks:
            task.cancel()
        _, running = await asyncio.wait(tasks, timeout=0.2)
        if not running:
            return
