"""Sends messages to Kafka, each until Kafka confirms it, so no delivery stays unknown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError, RecordTooLargeError

from endpoint_analytics.schemas.configuration.kafka_client import client_settings, make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import explain_failure

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 8 * 1024 * 1024
BATCH_BYTES = 512 * 1024
ANSWER_WITHIN_S = 60.0
PAUSE_S = 0.2
STOP_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Message:
    """A message for `topic`; `stored(partition, offset)` is called once Kafka has stored it."""

    topic: str
    key: bytes
    value: bytes | None
    stored: Callable[[int, int], None]


class FleetSender:
    """An idempotent producer, replaced when it gives up.

    `uncertain` counts messages sent again for lack of an answer: they may be in the Kafka log twice.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._ssl_context = make_ssl_context(config)
        self._producer: AIOKafkaProducer | None = None
        self.uncertain = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Return once Kafka has stored all messages, in order within a partition except for those sent again.

        Retries forever; raises only for a message that Kafka will never accept.
        """
        waiting = list(messages)
        while waiting:
            waiting = await self._try(waiting)
            if waiting:
                self.uncertain += len(waiting)
                await self._close()
                await asyncio.sleep(PAUSE_S)

    async def _try(self, messages: Sequence[Message]) -> list[Message]:
        """Send, and return the messages that are not known to be stored."""
        answers: list[asyncio.Future[Any]] = []
        try:
            producer = await self._ready()
            for message in messages:
                answers.append(await producer.send(message.topic, value=message.value, key=message.key))  # noqa: PERF401 - messages sent before a failure count
        except (MessageSizeTooLargeError, RecordTooLargeError):
            raise
        except Exception as error:  # noqa: BLE001 - after any client failure the messages are sent again
            why = await explain_failure(error, self._config, self._ssl_context)
            log.warning("Kafka at %s does not accept messages yet: %s", self._config.bootstrap_servers, why)
        if answers:
            await asyncio.wait(answers, timeout=ANSWER_WITHIN_S)
        left: list[Message] = []
        for message, answer in zip_longest(messages, answers):
            failure = answer.exception() if answer is not None and answer.done() else TimeoutError()
            if isinstance(failure, MessageSizeTooLargeError | RecordTooLargeError):
                raise failure
            if failure is not None:
                left.append(message)
            else:
                message.stored(answer.result().partition, answer.result().offset)
        return left

    async def _ready(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **client_settings(self._config, self._ssl_context),
                client_id="endpoint-analytics-fleet",
                acks="all",
                enable_idempotence=True,
                max_request_size=MAX_REQUEST_BYTES,
                max_batch_size=BATCH_BYTES,
                linger_ms=5,
            )
            try:
                await producer.start()
            except BaseException:
                with suppress(Exception):
                    await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await producer.stop()
        except Exception:  # noqa: BLE001 - a failure of its sender task is raised here
            with suppress(Exception):
                await producer.client.close()
