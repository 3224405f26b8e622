"""The Faust app: one Faust agent per topic, at concurrency 1, acknowledging whole chunks.

Only code that touches Faust belongs here. Faust's `take` would acknowledge a batch even if its body raised, so
`noack_take` is used, one `Fetched` at a time; the inbox gathers them. A failure that our retries cannot fix ends the
process, because a restarted Faust agent would continue after the messages it had already taken.
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
    OutcomesFold,
    ReplicasFold,
    RequestsFold,
    StreamFold,
)
from endpoint_analytics.pipeline.store.writer import RowWriter
from endpoint_analytics.pipeline.stream.config import WorkerConfig
from endpoint_analytics.pipeline.stream.group import FaustGroup
from endpoint_analytics.pipeline.stream.health import HealthServer
from endpoint_analytics.pipeline.stream.inbox import Inbox
from endpoint_analytics.pipeline.stream.partition_pauses import LOOK_EVERY_S
from endpoint_analytics.pipeline.stream.partition_reading import Delivery
from endpoint_analytics.pipeline.stream.progress_writer import ProgressWriter
from endpoint_analytics.pipeline.stream.range_reader import RangeReader
from endpoint_analytics.pipeline.stream.rejected_sender import RejectedSender
from endpoint_analytics.pipeline.stream.stream_reader import StreamReader
from endpoint_analytics.pipeline.stream.transport import Transport
from endpoint_analytics.pipeline.stream.waiting_messages import WaitingMessages
from endpoint_analytics.schemas.configuration.kafka_client import client_settings, make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.kafka.record_batches import Hole, UnreadableBatch
from endpoint_analytics.schemas.topics import ENGINE, HARDWARE, OUTCOMES, REJECTED, REPLICAS, REQUESTS, Topic

log = logging.getLogger(__name__)

POLL_MESSAGES = 1000
NEVER_S = 1e6
SAMPLE_FLUSHES = 2
"""Samples are stored after so many flushes: a replica has many series, and each of its rows is stored at each flush."""
METADATA_MAX_AGE_MS = 5_000
FETCH_BYTES = 16 * 1024 * 1024

_STREAM_FOLDS: tuple[tuple[Topic, Callable[[], StreamFold[Any]]], ...] = (
    (REQUESTS, RequestsFold),
    (HARDWARE, HardwareFold),
    (ENGINE, EngineFold),
    (OUTCOMES, OutcomesFold),
    (REPLICAS, ReplicasFold),
)


class Worker:
    """The app with its readers and its writer. `failed` is the error that ends the process.

    Raises ConfigurationError for invalid certificates.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.ssl_context = make_ssl_context(config.kafka)
        self.writer = RowWriter(config.clickhouse)
        if getattr(streams, "_CStreamIterator", None) is None:
            raise RuntimeError(
                "Faust's compiled extension is missing: without it, Faust acknowledges messages that it skips, "
                "which would lose them. Install faust-streaming from a wheel, on CPython"
            )
        self.app = _App(config.group, **_settings(config, self.ssl_context))
        self.app.queues = []
        self.app.transport = Transport(self.app.conf.broker_consumer, self.app)
        self.app.transport.report = self._report
        self._group = FaustGroup(self.app)
        self._range_reader = RangeReader(self._kafka_settings)
        self.readers: list[StreamReader[Any]] = []
        self.failed: BaseException | None = None
        self._stopping = False
        self.rejected = RejectedSender(
            self._topic(REJECTED), REJECTED.name(config.kafka.topic_prefix), self._kafka_settings
        )
        for topic, make_fold in _STREAM_FOLDS:
            self._add_stream(topic, make_fold)
        for reader in self.readers:  # separate tasks, so that a waiting reader does not block the others
            self._run_in_background(partial(self._flush, reader))
            self._run_in_background(partial(self._resume, reader))
        progress = ProgressWriter(self.readers, self.writer, lambda: self.app.consumer)
        self._run_in_background(progress.run)
        self._run_in_background(progress.write_forever)
        self.health = HealthServer(self.readers, self.writer, self.rejected, self._assigned)

    async def start(self) -> None:
        """Start once ClickHouse responds; raises OSError if the health server's address is in use.

        A worker that joined the group earlier would take partitions that others could read.
        """
        if self.config.health_port:
            await self.health.start(self.config.health_host, self.config.health_port)
        await self.writer.wait_until_it_answers()
        await self.app.start()

    async def stop(self) -> None:
        """Stop. Nothing needs saving: unacknowledged messages are read again."""
        self._stopping = True
        await self.app.stop()
        for reader in self.readers:
            await reader.stop()
        await self.health.stop()
        await self.writer.close()

    def _assigned(self) -> int:
        """Return the number of assigned partitions: 0 before the consumer has started."""
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

    def _add_stream(self, topic: Topic, make_fold: Callable[[], StreamFold[Any]]) -> None:
        flush_s = self.config.flush_s * (SAMPLE_FLUSHES if topic in {HARDWARE, ENGINE} else 1)
        reader: StreamReader[Any] = StreamReader(
            topic.name(self.config.kafka.topic_prefix),
            make_fold,
            self.writer,
            self._group,
            self.rejected.send,
            self.config.rule,
            self.config.bounds,
            flush_s,
            self._range_reader,
            self.config.max_rejected_share,
        )
        self.readers.append(reader)
        inbox = Inbox(flush_s)

        async def deliver(stream: Any) -> None:
            async for [event] in stream.noack_take(1, within=None):
                await inbox.put(event)

        self.app.agent(self._topic(topic), name=topic.suffix, concurrency=1)(deliver)
        self._run_in_background(partial(self._read, reader, inbox))

    def _kafka_settings(self) -> dict[str, Any]:
        """Return the settings of aiokafka clients outside the group: they connect like Faust's own client."""
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

    async def _read(self, reader: StreamReader[Any], inbox: Inbox) -> None:
        while not self.app.should_stop:
            await reader.read([each for event in await inbox.take() for each in _deliveries(self.app, event)])

    async def _flush(self, reader: StreamReader[Any]) -> None:
        while not self.app.should_stop:
            await asyncio.sleep(self.config.flush_s)
            await reader.flush_when_due()

    async def _resume(self, reader: StreamReader[Any]) -> None:
        while not self.app.should_stop:
            await asyncio.sleep(LOOK_EVERY_S)
            await reader.resume_healthy()

    def _run_in_background(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` alongside the streams; its failure ends the process, like theirs."""

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
        if self._stopping:
            log.debug("a part of the worker that stops was interrupted", exc_info=error)
            return
        log.critical("the worker cannot continue and exits: %s", error, exc_info=error)
        self.failed = error
        asyncio.get_running_loop().stop()


class _App(faust.App):
    """Does not create Faust's directory for tables: there are none, the Kafka log is the state."""

    queues: list[WaitingMessages]
    """One for each topic, and some of Faust's own that stay empty."""

    def _create_directories(self) -> None:
        pass

    def FlowControlQueue(  # noqa: N802 - Faust's name
        self,
        maxsize: int | None = None,  # noqa: ARG002 - it has its own bound
        *,
        clear_on_resume: bool = False,
    ) -> WaitingMessages:
        self.queues.append(WaitingMessages(self.flow_control, clear_on_resume))
        return self.queues[-1]


def _deliveries(app: Any, event: Any) -> list[Delivery]:
    message = event.message
    app.consumer.read(message.tp)
    partition, generation = message.partition, message.generation_id
    return [
        Delivery(partition, generation, record_of(each.offset, each.timestamp, each.value), each.key)
        for each in message.value.records
    ]


def _settings(config: WorkerConfig, ssl_context: ssl.SSLContext | None) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "broker": [f"kafka://{server}" for server in config.kafka.servers],
        "store": "memory://",
        "web_enabled": False,  # it would bind all interfaces
        "topic_allow_declare": False,  # topics are created beforehand, with their settings
        "topic_disable_leader": True,
        # There are no tables. With standbys for them, Faust would leave a worker without partitions, and others with as
        # many as an equal share rounded up: the fifth worker on 16 partitions, for example.
        "table_standby_replicas": 0,
        "consumer_auto_offset_reset": "earliest",
        # A broker that has just restarted may not list its topics yet: then nothing is assigned until the next refresh.
        "consumer_metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "consumer_max_fetch_size": FETCH_BYTES,
        "broker_session_timeout": config.session_timeout_s,
        "broker_heartbeat_interval": config.session_timeout_s / 10,
        "broker_commit_interval": 1.0,
        "broker_request_timeout": 40.0,
        "broker_max_poll_records": POLL_MESSAGES,
        # Nothing is polled while all partitions are held or paused, for example during a ClickHouse outage. A member
        # that exceeds this interval leaves the group, and Faust never rejoins.
        "broker_max_poll_interval": NEVER_S,
        "stream_wait_empty": False,
        # The default is 20 minutes, during which a message without a leader would be waited for silently.
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
