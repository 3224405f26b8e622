"""Sends unusable messages to the rejected topic, with the reason and their topic, partition and offset.

An outage of Kafka is waited out. If the topic is missing or not writable, nothing stops: unsent messages are still in
the table `rejected` and in their original topic, and their number is counted and reported.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)
from faust.exceptions import ProducerSendError

from endpoint_analytics.pipeline.core.partition import Rejection
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.kafka.record_batches import KEPT_BYTES
from endpoint_analytics.schemas.rejected import Rejected

log = logging.getLogger(__name__)

WITHIN_S = 10.0
TRY_EVERY_S = 10.0
"""Retry interval of a topic that refused messages. The whole stream waits meanwhile, so not every message retries."""
_TOO_LARGE = (MessageSizeTooLargeError, RecordTooLargeError)
_REFUSALS = (TopicAuthorizationFailedError, InvalidTopicError)
_FAILURES = (KafkaError, ProducerSendError, OSError, TimeoutError)
_BATCH = 500


class RejectedSender:
    """Sends to a Faust `topic`; `settings` are those of aiokafka clients. `unsent` counts unsent messages."""

    def __init__(self, topic: Any, name: str, settings: Callable[[], Mapping[str, Any]]) -> None:
        self._topic = topic
        self._name = name
        self._settings = settings
        self.unsent = 0
        self.failure = ""
        self._try_at = 0.0

    async def send(self, topic: str, partition: int, rejections: Sequence[Rejection]) -> None:
        """Send them; returns once all are stored in the topic, or cannot be for a reason that waiting does not fix."""
        _log(topic, partition, rejections)
        for start in range(0, len(rejections), _BATCH):
            await self._send([_message(topic, partition, r) for r in rejections[start : start + _BATCH]])

    async def _send(self, messages: list[bytes]) -> None:
        while messages:
            if time.monotonic() < self._try_at:
                self.unsent += len(messages)
                return
            messages, error = await self._try_to_send(messages, WITHIN_S / 10 if self.failure else WITHIN_S)
            if error is None:
                continue
            if reason := await self._refusal(error):
                self.failure = reason
                self._try_at = time.monotonic() + TRY_EVERY_S
                log.error("%s; the messages are in the table `rejected`", reason)
            else:
                log.warning("the rejected topic does not accept messages yet, retrying: %r", error)

    async def _try_to_send(
        self, messages: list[bytes], within_s: float
    ) -> tuple[list[bytes], BaseException | None]:
        """Send all, and return those to be sent again and the error; messages that are too large are given up."""
        sending: dict[asyncio.Future[Any], bytes] = {}
        left: list[bytes] = []
        error: BaseException | None = None
        for index, message in enumerate(messages):
            try:
                async with asyncio.timeout(within_s):
                    # `send` only passes it to the producer; the returned future is done once the broker has it.
                    sending[asyncio.ensure_future(await self._topic.send(value=message))] = message
            except _FAILURES as failed:
                if not self._is_too_large(failed):
                    error = failed
                    left += messages[index:]
                    break
        await self._answered(sending)
        for future, message in sending.items():
            reason = TimeoutError("sending was cancelled") if future.cancelled() else future.exception()
            if reason is None:
                self.failure = ""
            elif not isinstance(reason, _FAILURES):
                raise reason
            elif not self._is_too_large(reason):
                error = reason
                left.append(message)
        return left, error

    async def _answered(self, sending: Collection[asyncio.Future[Any]]) -> None:
        """Wait until all are done, and log that. Each ends by itself, at the latest with the producer's timeout."""
        since = time.monotonic()
        waiting = set(sending)
        while waiting:
            _, waiting = await asyncio.wait(waiting, timeout=WITHIN_S)
            if waiting:
                log.warning(
                    "the topic %s has not stored %d rejected messages after %.0f s; still waiting: check that each of "
                    "its partitions has a leader",
                    self._name,
                    len(waiting),
                    time.monotonic() - since,
                )

    def _is_too_large(self, error: BaseException) -> bool:
        """Return whether the message is too large for the broker, and count it if so."""
        if not isinstance(_cause(error), _TOO_LARGE):
            return False
        self.unsent += 1
        self.failure = self._refused(error)
        log.error("%s; the message is in the table `rejected`", self.failure)
        return True

    def _refused(self, error: BaseException) -> str:
        return f"the topic {self._name} does not accept the worker's messages: {_cause(error)!r}"

    async def _refusal(self, error: BaseException) -> str:
        """Return why waiting does not help, or "" if it does."""
        if isinstance(_cause(error), _REFUSALS):
            return self._refused(error)
        try:
            async with asyncio.timeout(WITHIN_S):
                exists = await self._exists()
        except (KafkaError, OSError, TimeoutError):
            return ""
        return (
            ""
            if exists
            else f"the topic {self._name} is missing: create it as described in docs/scale-out.md"
        )

    async def _exists(self) -> bool:
        settings = {k: v for k, v in self._settings().items() if k != "max_partition_fetch_bytes"}
        client = AIOKafkaAdminClient(**settings)
        try:
            await client.start()
            return self._name in await client.list_topics()
        finally:
            await client.close()


def _cause(error: BaseException) -> BaseException:
    return error.__cause__ if isinstance(error, ProducerSendError) and error.__cause__ else error


def _log(topic: str, partition: int, rejections: Sequence[Rejection]) -> None:
    """Log one line per reason, because thousands may have the same one."""
    reasons: dict[str, list[Rejection]] = {}
    for rejection in rejections:
        reasons.setdefault(rejection.error.reason, []).append(rejection)
    for same in reasons.values():
        first, more = same[0], len(same) - 1
        also = f" (and {more} more up to offset {same[-1].record.offset})" if more else ""
        log.warning(
            "rejected %s/%d offset %d: %s%s", topic, partition, first.record.offset, first.error, also
        )


def _message(topic: str, partition: int, rejection: Rejection) -> bytes:
    record, error = rejection.record, rejection.error
    value = record.value or b""
    return encode(
        Rejected(
            topic=topic,
            partition=partition,
            offset=record.offset,
            append_time_ms=record.append_ms,
            reason=error.reason,
            detail=error.detail,
            value=value[:KEPT_BYTES],
            value_bytes=rejection.value_bytes,
        )
    )
