"""The queue for Kafka: states and settings in order, bounded in number.

These messages have a header with the pod that they are about, so that a later process can find out what this one
reported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from endpoint_analytics.agents.delivery.keyed_sender import MAX_WAITING, KeyedSender
from endpoint_analytics.agents.delivery.producer import Outgoing, Producer, TooLargeError
from endpoint_analytics.agents.kubernetes.origin_header import HEADER
from endpoint_analytics.schemas.codec import decode_replicas, encode
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.replicas import ReplicaMessage, ReplicaState

logger = logging.getLogger("endpoint_analytics")


class SendQueue:
    """Sends to `topic`. `lost` counts dropped messages; on overflow an old one is dropped."""

    def __init__(
        self, topic: str, make_producer: Callable[[], Producer], max_waiting: int = MAX_WAITING
    ) -> None:
        self._sender = KeyedSender(topic, make_producer, self._lose, max_waiting)
        self.lost = 0

    def put(self, message: ReplicaMessage, origin: bytes) -> None:
        """Queue a message; one that the worker would refuse is counted as lost."""
        try:
            value = encode(message)
            decode_replicas(value)
        except InvalidMessageError as error:
            self.lost += 1
            logger.warning("dropped a message: %s", error)
            return
        replica_id = message.replica_id if isinstance(message, ReplicaState) else ""
        key = partition_key(message.namespace, message.endpoint, replica_id)
        self._sender.put(Outgoing(key, value), [(HEADER, origin)])

    async def run(self) -> None:
        """Send until cancelled."""
        await self._sender.run()

    async def drained(self) -> None:
        """Return once Kafka has all messages."""
        await self._sender.drained()

    def _lose(self, error: TooLargeError | None) -> None:
        self.lost += 1
        if error is not None:
            logger.warning("dropped a message that is too large for Kafka: %s", error)
