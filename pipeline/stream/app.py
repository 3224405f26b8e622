"""The Faust app: our topics, each read by one agent at concurrency 1, acknowledged by chunks.

Only what touches Faust belongs here. `take` would acknowledge a batch whose body raised, so `noack_take` it
is; a failure that our retries do not mend ends the process, since a restarted agent would go on behind what
it had taken.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import faust
from faust import streams
from faust.exceptions import ConsumerNotStarted

from endpoint_analytics.pipeline.core.chunks import record_of
from endpoint_analytics.pipeline.core.stream_folds import (
    EngineFold,
    HardwareFold,
    ReplicasFold,
    RequestsFold,
    StreamFold,
)
from endpoint_analytics.pipeline.store.writer import RowWriter
from endpoint_analytics.pipeline.stream.config import WorkerConfig
from endpoint_analytics.pipeline.stream.group import FaustGroup
from endpoint_analytics.pipeline.stream.health import HealthServer
from endpoint_analytics.pipeline.stream.log_reader import LogReader
from endpoint_analytics.pipeline.stream.pauses import LOOK_EVERY_S
from endpoint_analytics.pipeline.stream.progress_writer import ProgressWriter
from endpoint_analytics.pipeline.stream.reader import StreamReader
from endpoint_analytics.pipeline.stream.reading import Delivery
from endpoint_analytics.pipeline.stream.record_batches import Hole, UnreadableBatch
from endpoint_analytics.pipeline.stream.rejected_sender import RejectedSender
from endpoint_analytics.pipeline.stream.transport import Transport
from endpoint_analytics.pipeline.stream.waiting_messages import WaitingMessages
from endpoint_analytics.schemas.configuration.kafka_client import client_settings, make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.topics import ENGINE, HARDWARE, REJECTED, REPLICAS, REQUESTS, Topic

log = logging.getLogger(__name__)

TAKE_MESSAGES = 1000
TAKE_WITHIN_S = 0.2
POLL_MESSAGES = 500
NEVER_S = 1e6
METADATA_MAX_AGE_MS = 5_000
FETCH_BYTES = 16 * 1024 * 1024

_DIRECTORIES: tuple[tuple[Topic, Callable[[], StreamFold[Any]]], ...] = (
    (REQUESTS, RequestsFold),
    (HARDWARE, HardwareFold),
    (ENGINE, EngineFold),
    (REPLICAS, ReplicasFold),
)


class Worker:
    """The app with its readers and its writer. `failed` is set by what ends the process.

    Raises ConfigurationError for certificates that cannot be used.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.ssl_context = make_ssl_context(config.kafka)
        self.writer = RowWriter(config.clickhouse)
        if getattr(streams, "_CStreamIterator", None) is None:
            raise RuntimeError(
                "Faust's compiled extension is missing: without it, Faust acknowledges messages that it skips, "
                "and they would be lost. Install faust-streaming from a wheel, on CPython"
            )
        self.app = _App(config.group, **_settings(config, self.ssl_context))
        self.app.queues = []
        self.app.transport = Transport(self.app.conf.broker_consumer, self.app)
        self.app.transport.report = self._report
        self._group = FaustGroup(self.app)
        self._log_reader = LogReader(self._kafka_settings)
        self.readers: list[StreamReader[Any]] = []
        self.failed: BaseException | None = None
        self.rejected = RejectedSender(
            self._topic(REJECTED), REJECTED.name(config.kafka.topic_prefix), self._kafka_settings
        )
        for topic, make_directory in _DIRECTORIES:
            self._add_stream(topic, make_directory)
        for reader in self.readers:  # each by itself: one that waits keeps none waiting
            self._beside(partial(self._flush, reader))
            self._beside(partial(self._resume, reader))
        progress = ProgressWriter(self.readers, self.writer, lambda: self.app.consumer)
        self._beside(progress.look_for_ever)
        self._beside(progress.write_for_ever)
        self.health = HealthServer(self.readers, self.writer, self.rejected, self._assigned)

    async def start(self) -> None:
        """Start, once ClickHouse answers; raises OSError when the health server's address is taken.

        Who joins the group before takes partitions that others could read.
        """
        if self.config.health_port:
            await self.health.start(self.config.health_host, self.config.health_port)
        await self.writer.wait_until_it_answers()
        await self.app.start()

    async def stop(self) -> None:
        """Stop. Nothing needs saving: what is not acknowledged is read again."""
        await self.app.stop()
        await self.health.stop()
        await self.writer.close()

    def _assigned(self) -> int:
        """Return how many partitions are ours: none before the consumer has started."""
        try:
            return len(self.app.consumer.assignment())
        except ConsumerNotStarted:
            return 0

    def _topic(self, topic: Topic) -> Any:
        return self.app.topic(
            topic.name(self.config.kafka.topic_prefix),
            key_serializer="raw",
            value_serializer="raw",
            key_type=bytes,
            value_type=bytes,
            allow_empty=True,
        )

    def _add_stream(self, topic: Topic, make_directory: Callable[[], StreamFold[Any]]) -> None:
        reader: StreamReader[Any] = StreamReader(
            topic.name(self.config.kafka.topic_prefix),
            make_directory,
            self.writer,
            self._group,
            self.rejected.send,
            self.config.rule,
            self.config.bounds,
            self.config.flush_s,
            self._log_reader,
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

    def _kafka_settings(self) -> dict[str, Any]:
        """Return how aiokafka's clients beside the group reach the brokers: as Faust's own does."""
        return {
            **client_settings(self.config.kafka, self.ssl_context),
            "client_id": f"{self.config.group}-beside",
            "max_partition_fetch_bytes": FETCH_BYTES,
        }

    def _report(
        self, topic: str, partition: int, unreadable: Sequence[UnreadableBatch], holes: Sequence[Hole]
    ) -> bool:
        return all(
            reader.report(partition, unreadable, holes) for reader in self.readers if reader.topic == topic
        )

    async def _flush(self, reader: StreamReader[Any]) -> None:
        while not self.app.should_stop:
            await asyncio.sleep(self.config.flush_s / 5)
            await reader.flush_when_due()

    async def _resume(self, reader: StreamReader[Any]) -> None:
        while not self.app.should_stop:
            await asyncio.sleep(LOOK_EVERY_S)
            await reader.resume_what_is_well()

    def _beside(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have `work` done beside the streams; its failure ends the process as theirs does."""

        async def guarded() -> None:
            try:
                await work()
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                self._fail(error)
                raise

        self.app.task(guarded)

    def _fail(self, error: BaseException) -> None:
        log.critical("the worker cannot go on, and ends: %s", error, exc_info=error)
        self.failed = error
        asyncio.get_running_loop().stop()


class _App(faust.App):
    """Without the directory for tables that Faust makes where it is started: there are none, the log is the state."""

    queues: list[WaitingMessages]
    """One for each topic, and some of Faust's that stay empty."""

    def _create_directories(self) -> None:
        pass

    def FlowControlQueue(  # noqa: N802 - Faust's name
        self,
        maxsize: int | None = None,  # noqa: ARG002 - it has a bound of its own
        *,
        clear_on_resume: bool = False,
    ) -> WaitingMessages:
        self.queues.append(WaitingMessages(self.flow_control, clear_on_resume))
        return self.queues[-1]


def _delivery(app: Any, event: Any) -> Delivery:
    message = event.message
    app.consumer.read(message.tp)
    record = record_of(message.offset, round(message.timestamp * 1000), event.value)
    return Delivery(message.partition, message.generation_id, record, message.key)


def _settings(config: WorkerConfig, ssl_context: ssl.SSLContext | None) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "broker": [f"kafka://{server}" for server in config.kafka.servers],
        "store": "memory://",
        "web_enabled": False,  # it would bind all interfaces
        "topic_allow_declare": False,  # topics are made with their settings before
        "topic_disable_leader": True,
        "consumer_auto_offset_reset": "earliest",
        # A broker that has just come back may not tell of its topics yet: then nothing is assigned until the next look.
        "consumer_metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "consumer_max_fetch_size": FETCH_BYTES,
        "broker_session_timeout": config.session_timeout_s,
        "broker_heartbeat_interval": config.session_timeout_s / 10,
        "broker_commit_interval": 1.0,
        "broker_request_timeout": 40.0,
        "broker_max_poll_records": POLL_MESSAGES,
        # While all partitions are held or paused nothing is polled, as long as ClickHouse is away; who is not heard of
        # for this long leaves the group, and Faust never joins it again.
        "broker_max_poll_interval": NEVER_S,
        "stream_wait_empty": False,
        # Of its own it is 20 minutes: for so long a message that no leader takes is waited for in silence.
        "producer_request_timeout": 40.0,
        "producer_compression_type": None,
    }
    if config.instance_id:
        settings["consumer_group_instance_id"] = config.instance_id
    if credentials := _credentials(config.kafka, ssl_context):
        settings["broker_credentials"] = credentials
    return {name: value for name, value in settings.items() if value is not None}


def _credentials(config: KafkaConfig, context: ssl.SSLContext | None) -> Any:
    if config.uses_sasl:
        return faust.SASLCredentials(
            username=config.username,
            password=config.password,
            mechanism=config.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context else None
