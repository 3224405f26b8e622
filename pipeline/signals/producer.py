"""The Kafka producer of signals: messages not stored in time are given up, since scaling by old figures is useless.

It connects on first use, and again after every failure. Failures are raised to the caller, which has newer signals by
then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer

from endpoint_analytics.schemas.configuration.kafka_client import client_settings, make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import explain_failure

MAX_REQUEST_BYTES = 8 * 1024 * 1024
LINGER_MS = 20
STOP_WITHIN_S = 0.5


class SignalSendError(Exception):
    """Kafka did not store the messages in time; the message says why."""


class SignalProducer:
    """Sends batches of messages to one topic; used by one task. Raises ConfigurationError for invalid certificates."""

    def __init__(self, config: KafkaConfig, topic: str) -> None:
        self._config = config
        self._ssl_context = make_ssl_context(config)
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None

    async def send(self, messages: Sequence[tuple[bytes, bytes]], within_s: float) -> None:
        """Send keys and values; returns once all are stored. Raises SendError after at most `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                producer = await self._started()
                futures = [await producer.send(self._topic, value=value, key=key) for key, value in messages]
                await asyncio.gather(*futures)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            await self.close()
            why = await explain_failure(error, self._config, self._ssl_context)
            raise SignalSendError(f"Kafka at {self._config.bootstrap_servers}: {why}") from error

    async def close(self) -> None:
        """Close the connection and give up messages that Kafka has not stored yet."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        with suppress(Exception):
            async with asyncio.timeout(STOP_WITHIN_S):
                await producer.stop()
                return
        with suppress(Exception):
            await producer.client.close()

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **client_settings(self._config, self._ssl_context),
                client_id="endpoint-analytics-signals",
                acks="all",
                linger_ms=LINGER_MS,
                max_request_size=MAX_REQUEST_BYTES,
            )
            self._producer = producer  # set first, so that it is closed even if it cannot start
            await producer.start()
        return self._producer
