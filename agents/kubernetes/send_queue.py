"""The queue for Kafka: states and settings in order, bounded in number. One task empties it.

Unlike those of a replica's own agent, these messages have many keys, and a header with the pod that they are about, so
that a later process can find out what this one reported.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import NamedTuple

from endpoint_analytics.agents.delivery.producer import Outgoing, Producer, TooLargeError
from endpoint_analytics.agents.kubernetes.origin_header import HEADER
from endpoint_analytics.schemas.codec import decode_replicas, encode
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.replicas import ReplicaMessage, ReplicaState

logger = logging.getLogger("endpoint_analytics")

MAX_WAITING = 50_000


class _Waiting(NamedTuple):
    key: bytes
    value: bytes
    origin: bytes


class SendQueue:
    """Sends to `topic` through `producer`. `lost` counts dropped messages; on overflow the oldest is dropped."""

    def __init__(self, topic: str, producer: Producer, max_waiting: int = MAX_WAITING) -> None:
        self._topic = topic
        self._producer = producer
        self._max_waiting = max_waiting
        self._waiting: deque[_Waiting] = deque()
        self._filled = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
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
        if len(self._waiting) >= self._max_waiting:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(_Waiting(key, value, origin))
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
        """Return once Kafka has all messages."""
        await self._idle.wait()

    async def _send(self, one: _Waiting) -> None:
        try:
            await self._producer.send(self._topic, Outgoing(one.key, one.value), [(HEADER, one.origin)])
        except TooLargeError as error:
            self.lost += 1
            logger.warning("dropped a message that is too large for Kafka: %s", error)
