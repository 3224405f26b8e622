"""Reads back recent reports from the replicas topic: the Kafka log is this agent's only memory across restarts.

So it needs no disk, and no write access in Kubernetes. This is how it finds pods that were deleted while it was down.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedCodecError,
)
from aiokafka.structs import ConsumerRecord, TopicPartition

from endpoint_analytics.agents.delivery.outage import Outage
from endpoint_analytics.agents.kubernetes.naming import NamedReplica
from endpoint_analytics.agents.kubernetes.origin_header import HEADER, Origin
from endpoint_analytics.agents.kubernetes.reported import Reported
from endpoint_analytics.agents.kubernetes.reported_limits import ReportedLimits
from endpoint_analytics.schemas.codec import decode_replicas
from endpoint_analytics.schemas.configuration.kafka_client import client_settings
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import explain_failure
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.replicas import EndpointSettings
from endpoint_analytics.schemas.topics import REPLICAS

logger = logging.getLogger("endpoint_analytics")

BACK_MS = 25 * 3_600_000
"""How far to read back: lasting states are reported again sooner than that, and older ones no longer count."""

ANSWER_WITHIN_MS = 10_000
STALLED_S = 30.0
RETRY_S = 1.0
WAIT_MS = 200

UNREADABLE = (CorruptRecordException, RecordTooLargeError, UnsupportedCodecError)
"""Errors of a record batch rather than of the broker; compression libraries raise their own errors."""


@dataclass(slots=True)
class ReadBack:
    """The last report of each of our replicas, its pod's name, and the last limits of each endpoint."""

    replicas: dict[NamedReplica, tuple[Reported, str]] = field(default_factory=dict)
    limits: dict[str, ReportedLimits] = field(default_factory=dict)

    def take(self, value: bytes | None, header: bytes | None, namespace: str, origin: Origin) -> None:
        """Add one message, if this agent reported it."""
        pod = None if header is None else origin.pod_of(header)
        if pod is None:
            return
        try:
            message = decode_replicas(value)
        except InvalidMessageError:
            return
        if message.namespace != namespace:
            return
        if isinstance(message, EndpointSettings):
            last = self.limits.get(message.endpoint)
            if last is None or message.at_us >= last.at_us:
                reported = ReportedLimits(message.at_us, message.min_replicas, message.max_replicas)
                self.limits[message.endpoint] = reported
            return
        replica = NamedReplica(message.endpoint, message.replica_id)
        known = self.replicas.get(replica)
        if known is None or message.at_us >= known[0].at_us:
            self.replicas[replica] = (Reported(message.at_us, message.state, message.reason), pod)

    def living(self) -> dict[NamedReplica, str]:
        """Return the pod names of the replicas whose last state was not terminated."""
        return {replica: pod for replica, (last, pod) in self.replicas.items() if last.state != "terminated"}


async def read_back(
    config: KafkaConfig, ssl_context: ssl.SSLContext | None, namespace: str, origin: Origin
) -> ReadBack:
    """Return what the topic holds; waits for Kafka forever, but continues without it if reading is not allowed."""
    outage = Outage(config.bootstrap_servers)
    while True:
        try:
            found = await _read(config, ssl_context, namespace, origin)
        except (TopicAuthorizationFailedError, UnknownTopicOrPartitionError):
            logger.warning(
                "the topic %s does not exist or may not be read: pods deleted while this agent was down are not found",
                REPLICAS.name(config.topic_prefix),
            )
            return ReadBack()
        except (KafkaError, OSError, TimeoutError) as error:
            await outage.complain(partial(explain_failure, error, config, ssl_context))
            await asyncio.sleep(RETRY_S)
        else:
            outage.end()
            return found


async def _read(
    config: KafkaConfig, ssl_context: ssl.SSLContext | None, namespace: str, origin: Origin
) -> ReadBack:
    found = ReadBack()
    topic = REPLICAS.name(config.topic_prefix)
    consumer = AIOKafkaConsumer(
        topic,
        **client_settings(config, ssl_context),
        client_id="endpoint-analytics-agent",
        enable_auto_commit=False,
        request_timeout_ms=ANSWER_WITHIN_MS,
    )
    try:
        await consumer.start()
        partitions = sorted(consumer.assignment())
        ends = await consumer.end_offsets(partitions)
        since_ms = int(time.time() * 1000) - BACK_MS
        begins = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        left = {}
        for partition, end in ends.items():
            begin = begins[partition]
            if begin is not None and begin.offset < end:
                consumer.seek(partition, begin.offset)
                left[partition] = end
            else:
                consumer.seek(partition, end)
        for partition, end in left.items():
            async for record in _records(consumer, partition, end):
                found.take(record.value, _header_of(record), namespace, origin)
    finally:
        await consumer.stop()
    return found


async def _records(
    consumer: AIOKafkaConsumer, partition: TopicPartition, end: int
) -> AsyncIterator[ConsumerRecord[bytes, bytes]]:
    """Yield the records of a partition before `end`, except batches that cannot be read.

    The client does not say how long such a batch is, so its offsets are skipped one by one.
    """
    max_records: int | None = None
    is_skipping = False
    heard_s = time.monotonic()
    while (offset := await consumer.position(partition)) < end:
        try:
            got = await consumer.getmany(partition, timeout_ms=WAIT_MS, max_records=max_records)
        except Exception as error:
            if isinstance(error, OSError | KafkaError) and not isinstance(error, UNREADABLE):
                raise
            heard_s = time.monotonic()
            if max_records is None:  # read the records before it in the same response first
                max_records = 1
                consumer.seek(partition, offset)
                continue
            if not is_skipping:
                logger.warning("%s/%d: the record at offset %d cannot be read: %r", *partition, offset, error)
            is_skipping = True
            consumer.seek(partition, max(offset + 1, await consumer.position(partition)))
            continue
        for record in got.get(partition, ()):
            heard_s, is_skipping = time.monotonic(), False
            yield record
        if time.monotonic() - heard_s > STALLED_S:
            await consumer.end_offsets([partition])  # raises if the broker does not respond at all
            logger.warning(
                "%s/%d: the broker returns nothing from offset %d on: the rest is not read",
                *partition,
                offset,
            )
            return


def _header_of(record: ConsumerRecord[bytes, bytes]) -> bytes | None:
    return next((value for name, value in record.headers if name == HEADER), None)
