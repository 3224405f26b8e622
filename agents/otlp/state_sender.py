"""Sends replica states by tasks of its own, so what Kafka refuses of them delays no request."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from endpoint_analytics.agents.delivery.keyed_sender import MAX_WAITING, KeyedSender
from endpoint_analytics.agents.delivery.producer import Outgoing, Producer, TooLargeError
from endpoint_analytics.agents.otlp.replicas import Message
from endpoint_analytics.agents.otlp.tally import Trouble


class StateSender:
    """Sends to `topic`; on overflow an old state is dropped. `lost` counts what was dropped."""

    def __init__(
        self,
        topic: str,
        make_producer: Callable[[], Producer],
        lost: Trouble,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._lost = lost
        self._sender = KeyedSender(topic, make_producer, self._lose, max_waiting)

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
        self._lost.add(1, "too many wait for Kafka" if error is None else str(error))
