"""Reads spans from a Kafka topic that an OpenTelemetry Collector writes (its kafka exporter, encoding `otlp_proto`).

An offset is committed only when what its message became is stored, and before a partition goes to another reader. A
reader that is killed in between leaves at most GROUP_MESSAGES messages that its successor counts again.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Collection
from functools import partial

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from endpoint_analytics.agents.delivery.outage import Outage
from endpoint_analytics.agents.otlp.decoding import PROTOBUF, BadBodyError, decode_request
from endpoint_analytics.agents.otlp.delivery import Delivery
from endpoint_analytics.agents.otlp.intake import Intake
from endpoint_analytics.agents.otlp.settings import Begin
from endpoint_analytics.agents.otlp.tally import Tally
from endpoint_analytics.schemas.configuration.kafka_client import client_settings
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import explain_failure

logger = logging.getLogger("endpoint_analytics")

GROUP_MESSAGES = 100
POLL_MS = 500
RETRY_S = 1.0


class TopicReader(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reads `topic` as a member of `group`; `begin` is where a group without offsets starts."""

    def __init__(
        self,
        kafka: KafkaConfig,
        ssl_context: ssl.SSLContext | None,
        topic: str,
        group: str,
        begin: Begin,
        intake: Intake,
        delivery: Delivery,
        tally: Tally,
    ) -> None:
        self._kafka = kafka
        self._ssl_context = ssl_context
        self._topic = topic
        self._group = group
        self._begin = begin
        self._intake = intake
        self._delivery = delivery
        self._tally = tally
        self._turn = asyncio.Lock()
        self._is_assigned = False
        self._outage = Outage(kafka.bootstrap_servers)

    async def run(self) -> None:
        """Read until cancelled; what is not stored by then is read again by the next reader."""
        while True:
            consumer = self._make_consumer()
            try:
                await consumer.start()
                consumer.subscribe([self._topic], listener=self)
                while True:
                    await self._read(consumer)
                    self._outage.end()
            except (KafkaError, OSError) as error:
                await self._outage.complain(partial(explain_failure, error, self._kafka, self._ssl_context))
            finally:
                await consumer.stop()
            await asyncio.sleep(RETRY_S)

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

    def _make_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **client_settings(self._kafka, self._ssl_context),
            client_id="endpoint-analytics-agent",
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset=self._begin,
        )

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        found = await consumer.getmany(timeout_ms=POLL_MS, max_records=GROUP_MESSAGES)
        async with self._turn:
            if not found or not self._is_assigned:  # what another reader may read now is not committed
                return
            stored = [self._put(record) for records in found.values() for record in records]
            await asyncio.gather(*(one for one in stored if one is not None))
            await consumer.commit({partition: records[-1].offset + 1 for partition, records in found.items()})

    def _put(self, record: ConsumerRecord) -> asyncio.Future[None] | None:
        try:
            message = decode_request(record.value or b"", PROTOBUF)
        except BadBodyError as error:
            self._tally.add_bad_body(f"{record.topic}/{record.partition} at {record.offset}: {error}")
            return None
        received = self._intake.read(message, time.time_ns() // 1_000)
        self._tally.add(received, time.monotonic())
        return self._delivery.put(received)
