"""The Faust app: our topics, each read by one agent at concurrency 1, acknowledged by chunks.

Only what touches Faust belongs here. `take` would acknowledge a batch whose body raised, so `noack_take` it
is; a failure that our retries do not mend ends the process, since a restarted agent would go on behind what
it had taken.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faust
from faust import streams

from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.core.folders import (
    EngineFolder,
    Folder,
    HardwareFolder,
    ReplicasFolder,
    RequestsFolder,
)
from endpoint_analytics.pipeline.core.partition import Rejection
from endpoint_analytics.pipeline.store.writer import RowWriter
from endpoint_analytics.pipeline.stream.config import KafkaSecurity, WorkerConfig
from endpoint_analytics.pipeline.stream.health import HealthServer
from endpoint_analytics.pipeline.stream.reader import Delivery, StreamReader
from endpoint_analytics.pipeline.stream.transport import Transport
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.rejected import Rejected
from endpoint_analytics.schemas.topics import ENGINE, HARDWARE, REJECTED, REPLICAS, REQUESTS, Topic

log = logging.getLogger(__name__)

TAKE_MESSAGES = 1000
TAKE_WITHIN_S = 0.2
REJECTED_VALUE_BYTES = 64 * 1024
METADATA_MAX_AGE_MS = 5_000

_FOLDERS: tuple[tuple[Topic, Callable[[], Folder[Any]]], ...] = (
    (REQUESTS, RequestsFolder),
    (HARDWARE, HardwareFolder),
    (ENGINE, EngineFolder),
    (REPLICAS, ReplicasFolder),
)


class Worker:
    """The app with its readers and its writer. `failed` is set by what ends the process."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.writer = RowWriter(config.clickhouse)
        if getattr(streams, "_CStreamIterator", None) is None:
            raise RuntimeError(
                "Faust's compiled extension is missing: without it, Faust acknowledges messages that it skips, "
                "and they would be lost. Install faust-streaming from a wheel, on CPython"
            )
        self.app = _App(config.group, **_settings(config))
        self.app.transport = Transport(self.app.conf.broker_consumer, self.app)
        self.readers: list[StreamReader[Any]] = []
        self.failed: BaseException | None = None
        self._rejected = self._topic(REJECTED)
        for topic, make_folder in _FOLDERS:
            self._add_stream(topic, make_folder)
        self.app.task(self._flush)
        self.health = HealthServer(self.readers, self.writer, lambda: len(self.app.consumer.assignment()))

    async def start(self) -> None:
        """Start; raises OSError when the health server's address is taken."""
        if self.config.health_port:
            await self.health.start(self.config.health_host, self.config.health_port)
        await self.app.start()

    async def stop(self) -> None:
        """Stop. Nothing needs saving: what is not acknowledged is read again."""
        await self.app.stop()
        await self.health.stop()
        await self.writer.close()

    def _topic(self, topic: Topic) -> Any:
        return self.app.topic(
            topic.name(self.config.topic_prefix),
            key_serializer="raw",
            value_serializer="raw",
            key_type=bytes,
            value_type=bytes,
            allow_empty=True,
        )

    def _add_stream(self, topic: Topic, make_folder: Callable[[], Folder[Any]]) -> None:
        reader: StreamReader[Any] = StreamReader(
            topic.name(self.config.topic_prefix),
            make_folder,
            self.writer,
            lambda: int(self.app.consumer_generation_id),
            self._send_rejected,
            self.config.rule,
            self.config.bounds,
            self.config.flush_s,
            self.config.max_rejected_share,
        )
        self.readers.append(reader)

        async def fold(stream: Any) -> None:
            try:
                async for events in stream.noack_take(TAKE_MESSAGES, within=TAKE_WITHIN_S):
                    await reader.read([_delivery(self.app, event) for event in events])
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                self._fail(error)
                raise

        self.app.agent(self._topic(topic), name=topic.suffix, concurrency=1)(fold)

    async def _flush(self) -> None:
        try:
            while not self.app.should_stop:
                await asyncio.sleep(self.config.flush_s / 5)
                for reader in self.readers:
                    await reader.flush_when_due()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        log.critical("the worker cannot go on, and ends: %s", error, exc_info=error)
        self.failed = error
        asyncio.get_running_loop().stop()

    async def _send_rejected(self, topic: str, partition: int, rejections: Sequence[Rejection]) -> None:
        for rejection in rejections:
            record, error = rejection.record, rejection.error
            value = record.value or b""
            log.warning("rejected %s/%d offset %d: %s", topic, partition, record.offset, error)
            message = Rejected(
                topic=topic,
                partition=partition,
                offset=record.offset,
                append_time_ms=record.append_ms,
                reason=error.reason,
                detail=error.detail,
                value=value[:REJECTED_VALUE_BYTES],
                value_bytes=len(value),
            )
            # `send` only hands it to the producer; what it returns is done when the broker has it.
            await (await self._rejected.send(value=encode(message)))


class _App(faust.App):
    """Without the folder for tables that Faust makes where it is started: there are none, the log is the state."""

    def _create_directories(self) -> None:
        pass


def _delivery(app: Any, event: Any) -> Delivery:
    message = event.message
    record = Record(message.offset, int(message.timestamp * 1000 + 0.5), event.value)
    message.value = None  # the open chunk keeps the message, not its bytes
    return Delivery(message.partition, message.generation_id, record, lambda: message.ack(app.consumer))


def _settings(config: WorkerConfig) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "broker": [f"kafka://{address}" for address in config.brokers.split(",")],
        "store": "memory://",
        "web_enabled": False,  # it would bind all interfaces
        "topic_allow_declare": False,  # topics are made with their settings before
        "topic_disable_leader": True,
        "consumer_auto_offset_reset": "earliest",
        # A broker that has just come back may not tell of its topics yet: then nothing is assigned until the next look.
        "consumer_metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "consumer_max_fetch_size": 16 * 1024 * 1024,
        "broker_session_timeout": config.session_timeout_s,
        "broker_heartbeat_interval": config.session_timeout_s / 10,
        "broker_commit_interval": 1.0,
        "broker_request_timeout": 40.0,
        "stream_buffer_maxsize": 4 * TAKE_MESSAGES,
        "stream_wait_empty": False,
        "producer_compression_type": None,
    }
    if config.instance_id:
        settings["consumer_group_instance_id"] = config.instance_id
    if credentials := _credentials(config.security):
        settings["broker_credentials"] = credentials
    return {name: value for name, value in settings.items() if value is not None}


def _credentials(security: KafkaSecurity) -> Any:
    context = None
    if security.protocol.endswith("SSL"):
        context = ssl.create_default_context(
            cafile=str(Path(security.ca_file).expanduser()) if security.ca_file else None
        )
    if security.protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=security.username,
            password=security.password,
            mechanism=security.sasl_mechanism or "PLAIN",
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context else None
