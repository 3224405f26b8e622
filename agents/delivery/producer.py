"""The Kafka producer of one topic, which retries forever.

`send` returns once Kafka has stored the message. While Kafka is unavailable it waits; it never gives up by itself.

A key's partition is chosen once, as by Kafka's own clients, and kept: if partitions are added to the topic, a boot's
messages stay together, in their order. The worker counts a boot within one partition.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import LeaderNotAvailableError, MessageSizeTooLargeError, RecordTooLargeError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.protocol.metadata import MetadataRequest

from endpoint_analytics.agents.delivery.outage import Outage
from endpoint_analytics.schemas.configuration.kafka_client import client_settings
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import explain_failure, find_failure

MAX_REQUEST_BYTES = 8 * 1024 * 1024
REQUEST_TIMEOUT_MS = 10_000
RETRY_BACKOFF_MS = 1_000
"""At aiokafka's default of 100 ms, its attempts to find a dead broker took 2 % of a core next to the requests."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
WARN_AFTER_S = 10.0

MOST_KEYS = 10_000
"""Keys whose partition a producer remembers; after more, all are chosen again."""

Headers = Sequence[tuple[str, bytes]]
Value = TypeVar("Value")


class Outgoing(NamedTuple):
    """A message; `partition` is the one that its boot's earlier messages went to, None if the producer shall choose."""

    key: bytes
    value: bytes
    partition: int | None = None


_BY_KEY = DefaultPartitioner()


class TooLargeError(Exception):
    """Kafka will never accept a message of this size."""


class Producer:
    """One connection, opened on first use and reopened whenever it is lost; used by one task.

    A message is resent until Kafka confirms that it is stored, so the Kafka log may hold it twice: its `seq` shows it.
    Kafka's own idempotence is off: if a memory snapshot of this process is restored twice, both copies have the same
    producer id and sequence, and the broker would silently drop one copy's messages as duplicates.
    """

    def __init__(self, config: KafkaConfig, ssl_context: ssl.SSLContext | None, outage: Outage) -> None:
        self._config = config
        self._ssl_context = ssl_context
        self._producer: AIOKafkaProducer | None = None
        self._outage = outage
        self._partitions: dict[tuple[str, bytes], int] = {}

    def partition(self, topic: str, key: bytes) -> int | None:
        """Return the partition that messages with this key go to; None until it is chosen, when the first is sent."""
        return self._partitions.get((topic, key))

    def forget_partition(self, topic: str, key: bytes) -> None:
        """Choose again for the next message with this key, which begins a new boot."""
        self._partitions.pop((topic, key), None)

    async def send(self, topic: str, message: Outgoing, headers: Headers = ()) -> None:
        """Return once all in-sync replicas have stored the message; raises TooLargeError."""
        await self.send_all(topic, [message], headers)

    async def send_all(self, topic: str, messages: Sequence[Outgoing], headers: Headers = ()) -> None:
        """Return once all of these messages are stored, in this order; some may be stored twice.

        Each gets the headers. Raises TooLargeError if at least one is too large; which ones are stored is then unknown.
        """
        try:
            await self._persist(topic, partial(self._send_in_order, topic, messages, headers))
        except (MessageSizeTooLargeError, RecordTooLargeError) as error:
            largest = max(len(message.value) for message in messages)
            raise TooLargeError(f"{largest} bytes for {topic}") from error

    async def partitions(self, topic: str) -> list[int]:
        """Return the topic's partitions, also those without a leader; waits for Kafka as `send` does."""
        return await self._persist(topic, partial(_partitions, topic))

    async def reach(self, topic: str, partition: int) -> None:
        """Return once the partition's leader answers: what is sent then is not likely to be in doubt for long."""
        await self._persist(topic, partial(_ask_leader, topic, partition))

    async def close(self, timeout_s: float = 0.5) -> None:
        """Close the connection; after `timeout_s`, abandon what Kafka has not stored yet."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_producer(producer, timeout_s)

    async def _persist(
        self, topic: str, ask: Callable[[AIOKafkaProducer], Coroutine[Any, Any, Value]]
    ) -> Value:
        """Return what Kafka answers, however long it takes; raises only that a message is too large."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                answer = await self._ask_once(topic, ask)
            except (MessageSizeTooLargeError, RecordTooLargeError):
                await self.close()
                raise
            except Exception as error:  # noqa: BLE001  # any client error: never give up a message for it
                await self.close()
                await self._outage.complain(
                    partial(explain_failure, error, self._config, self._ssl_context), self
                )
            else:
                self._outage.end(self)
                return answer
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311  # it only spreads retries
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _ask_once(
        self, topic: str, ask: Callable[[AIOKafkaProducer], Coroutine[Any, Any, Value]]
    ) -> Value:
        if self._producer is None:
            self._producer = make_producer(self._config, self._ssl_context)
            await self._producer.start()
        asking = asyncio.ensure_future(ask(self._producer))
        try:
            while not (await asyncio.wait({asking}, timeout=WARN_AFTER_S))[0]:
                await self._outage.complain(partial(self._explain_silence, topic), self)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        return await asking

    async def _explain_silence(self, topic: str) -> str:
        found = await find_failure(self._config, self._ssl_context)
        return found or f"no response for {topic} within {WARN_AFTER_S:.0f} s"

    async def _send_in_order(
        self, topic: str, messages: Sequence[Outgoing], headers: Headers, producer: AIOKafkaProducer
    ) -> None:
        partitions = await _partitions(topic, producer)
        stored = []
        for message in messages:
            partition = self._choose(topic, message, partitions)
            stored.append(
                await producer.send(
                    topic, value=message.value, key=message.key, partition=partition, headers=list(headers)
                )
            )
            stored[-1].add_done_callback(_retrieve_error)  # if a later one fails, nothing awaits this one's
        for outcome in await asyncio.gather(*stored, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def _choose(self, topic: str, message: Outgoing, partitions: list[int]) -> int:
        """Return the message's partition; one that is no longer there was that of a topic that was created again."""
        if message.partition is not None and message.partition in partitions:
            return message.partition
        kept = self._partitions.get((topic, message.key))
        if kept is None or kept not in partitions:
            kept = partition_of(message.key, partitions)
            if len(self._partitions) >= MOST_KEYS:
                self._partitions.clear()
            self._partitions[topic, message.key] = kept
        return kept


def partition_of(key: bytes, partitions: list[int]) -> int:
    """Return the partition that Kafka's own clients choose for a key."""
    return int(_BY_KEY(key, partitions, partitions))


async def _partitions(topic: str, producer: AIOKafkaProducer) -> list[int]:
    return sorted(await producer.partitions_for(topic))


async def _ask_leader(topic: str, partition: int, producer: AIOKafkaProducer) -> None:
    """Raise KafkaError unless the partition's leader answers and says that it leads; return if there is no such one."""
    if partition not in await _partitions(topic, producer):
        return
    client = producer.client
    leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
    leaders: dict[int, int] = {}
    if leader not in (None, -1):
        answer = await client.send(leader, MetadataRequest([topic], allow_auto_topic_creation=False))
        leaders = {number: node for *_, found in answer.topics for _, number, node, *_ in found}
    if leader in (None, -1) or leaders.get(partition) != leader:
        await client.force_metadata_update()
        raise LeaderNotAvailableError(f"{topic}/{partition}")


def _retrieve_error(stored: asyncio.Future[object]) -> None:
    if not stored.cancelled():
        stored.exception()


def make_producer(config: KafkaConfig, ssl_context: ssl.SSLContext | None) -> AIOKafkaProducer:
    """Return a producer that is not started yet; requires a running event loop."""
    return AIOKafkaProducer(
        **client_settings(config, ssl_context),
        client_id="endpoint-analytics-agent",
        acks="all",
        enable_idempotence=False,  # see Producer
        max_request_size=MAX_REQUEST_BYTES,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        retry_backoff_ms=RETRY_BACKOFF_MS,
    )


async def stop_producer(producer: AIOKafkaProducer, timeout_s: float) -> None:
    """Close the connections; abandons what Kafka has not stored within `timeout_s`. Raises nothing."""
    try:
        async with asyncio.timeout(timeout_s):
            await producer.stop()
    except Exception:  # noqa: BLE001  # re-raises whatever its sender task died of
        with suppress(Exception):
            await producer.client.close()
