"""Reads spans from a Kafka topic that an OpenTelemetry Collector writes (its kafka exporter, encoding `otlp_proto`).

An offset is committed only when what its message became is stored, and before a partition goes to another reader. A
reader that is killed in between leaves at most GROUP_MESSAGES messages that its successor counts again.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Collection, Sequence
from functools import partial

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from endpoint_analytics.agents.delivery.outage import READS, Outage
from endpoint_analytics.agents.otlp.admission import Admission, until_stored
from endpoint_analytics.agents.otlp.decoding import PROTOBUF
from endpoint_analytics.agents.otlp.errors import BadBodyError
from endpoint_analytics.agents.otlp.intake import Received
from endpoint_analytics.agents.otlp.settings import Begin
from endpoint_analytics.agents.otlp.tally import Tally
from endpoint_analytics.schemas.configuration.kafka_client import client_settings
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import explain_failure, find_unreadable
from endpoint_analytics.schemas.kafka.readable_fetches import make_readable
from endpoint_analytics.schemas.kafka.record_batches import Hole, UnreadableBatch

logger = logging.getLogger("endpoint_analytics")

GROUP_MESSAGES = 100
POLL_MS = 500
RETRY_S = 1.0
METADATA_MS = 30_000
"""How soon a topic is read that was created later; aiokafka looks every five minutes."""
UNREADABLE_AFTER_S, UNREADABLE_EVERY_S = 5.0, 60.0


class TopicReader(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reads `topic` as a member of `group`; `begin` is where a group without offsets starts."""

    def __init__(
        self,
        kafka: KafkaConfig,
        ssl_context: ssl.SSLContext | None,
        topic: str,
        group: str,
        begin: Begin,
        admission: Admission,
        tally: Tally,
    ) -> None:
        self._kafka = kafka
        self._ssl_context = ssl_context
        self._topic = topic
        self._group = group
        self._begin = begin
        self._admission = admission
        self._tally = tally
        self._turn = asyncio.Lock()
        self._is_assigned = False
        self._outage = Outage(kafka.bootstrap_servers, READS)

    async def run(self) -> None:
        """Read until cancelled; what is not stored by then is read again by the next reader."""
        reporting = asyncio.create_task(self._report_unreadable())
        try:
            while True:
                await self._read_until_trouble()
                await asyncio.sleep(RETRY_S)
        finally:
            reporting.cancel()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Let the current group be stored and committed before others read its partitions."""
        del revoked
        self._is_assigned = False
        async with self._turn:
            pass

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Read again, from the committed offsets on."""
        del assigned
        self._is_assigned = True

    async def _read_until_trouble(self) -> None:
        consumer = self._make_consumer()
        try:
            await consumer.start()
            make_readable(consumer, self._skip)
            consumer.subscribe([self._topic], listener=self)
            while True:
                await self._read(consumer)
                self._outage.end()
        except (KafkaError, OSError) as error:
            await self._outage.complain(partial(explain_failure, error, self._kafka, self._ssl_context))
        finally:
            await consumer.stop()

    async def _report_unreadable(self) -> None:
        """Log that the topic is missing or may not be read, as long as that is so: the consumer says nothing."""
        while True:
            await asyncio.sleep(UNREADABLE_AFTER_S)
            lines = await find_unreadable(self._kafka, self._ssl_context, [self._topic], self._group)
            for line in lines or ():
                logger.error("no spans are read until this is fixed: %s", line)
            await asyncio.sleep(UNREADABLE_EVERY_S)

    def _skip(
        self, topic: str, partition: int, unreadable: Sequence[UnreadableBatch], holes: Sequence[Hole]
    ) -> bool:
        del holes
        for batch in unreadable:
            self._tally.unreadable.add(batch.last - batch.first + 1, f"{topic}/{partition}, {batch.detail}")
        return True

    def _make_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **client_settings(self._kafka, self._ssl_context),
            client_id="endpoint-analytics-agent",
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset=self._begin,
            metadata_max_age_ms=METADATA_MS,
        )

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        found = await consumer.getmany(timeout_ms=POLL_MS, max_records=GROUP_MESSAGES)
        async with self._turn:
            if not found or not self._is_assigned:  # what another reader may read now is not committed
                return
            taken = [(one, await self._admit(one)) for records in found.values() for one in records]
            for record, received in taken:
                await self._store(record, received)
            await consumer.commit({partition: records[-1].offset + 1 for partition, records in found.items()})

    async def _store(self, record: ConsumerRecord, received: Received | None) -> None:
        """Return once Kafka has it; what it repeated may have been left to an exporter meanwhile."""
        while received is not None and not await until_stored(received):
            received = await self._admit(record)

    async def _admit(self, record: ConsumerRecord) -> Received | None:
        try:
            return await self._admission.admit(record.value or b"", PROTOBUF)
        except BadBodyError as error:
            self._tally.bad_bodies.add(1, f"{record.topic}/{record.partition} at {record.offset}: {error}")
            return None
