"""Sends replica states by a task of its own, so what Kafka refuses of them delays no request."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from endpoint_analytics.agents.delivery.keyed_sender import MAX_WAITING, KeyedSender
from endpoint_analytics.agents.delivery.producer import Outgoing, Producer, TooLargeError
from endpoint_analytics.agents.otlp.replicas import Message

logger = logging.getLogger("endpoint_analytics")


class StateSender:
    """Sends to `topic`; on overflow the oldest state is dropped and counted in `lost`."""

    def __init__(self, topic: str, producer: Producer, max_waiting: int = MAX_WAITING) -> None:
        self.lost = 0
        self._sender = KeyedSender(topic, producer, self._lose, max_waiting)

    def put(self, messages: Iterable[Message]) -> None:
        """Queue states."""
        for message in messages:
            self._sender.put(Outgoing(message.key, message.value))

    async def run(self) -> None:
        """Send until cancelled."""
        await self._sender.run()

    async def drained(self) -> None:
        """Return once Kafka has all states."""
        await self._sender.drained()

    def _lose(self, error: TooLargeError | None) -> None:
        if not self.lost:
            why = "too many wait for Kafka" if error is None else str(error)
            logger.warning("a replica state is lost; further ones are only counted: %s", why)
        self.lost += 1
