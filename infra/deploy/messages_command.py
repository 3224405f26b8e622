"""`endpoint-analytics messages`: prints a topic's messages as JSON lines, whatever their form in Kafka.

It reads without a consumer group, so it affects nobody. An unusable message is a line on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from endpoint_analytics.schemas.codec import (
    decode_engine,
    decode_hardware,
    decode_outcomes,
    decode_rejected,
    decode_replicas,
    decode_requests,
    decode_signal,
)
from endpoint_analytics.schemas.configuration.kafka_client import client_settings, make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import explain_failure
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import ConfigurationError, time_option
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.kafka.readable_fetches import make_readable
from endpoint_analytics.schemas.kafka.record_batches import Hole, UnreadableBatch
from endpoint_analytics.schemas.topics import TOPICS

POLL_MS = 500
ASK_AFTER_S = 5.0
"""How long nothing may come before the broker is asked whether the topic is still there."""

_TOPICS = {topic.suffix: topic for topic in TOPICS}
_DECODERS: Mapping[str, Callable[[bytes | None], object]] = {
    "requests": decode_requests,
    "hardware": decode_hardware,
    "engine": decode_engine,
    "outcomes": decode_outcomes,
    "replicas": decode_replicas,
    "signals": decode_signal,
    "rejected": decode_rejected,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    parser.add_argument("topic", choices=list(_TOPICS), help="requests, hardware ...")
    parser.add_argument("--partition", type=int, metavar="N", help="only this one (default: all)")
    parser.add_argument(
        "--since",
        type=time_option,
        metavar="TIME",
        help="from what the broker appended at this time, such as 2026-01-31T12:00Z (default: all that Kafka keeps; "
        "with --follow, what comes from now on)",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="go on with what is sent from now on (default: end where the topic ends)",
    )
    parser.add_argument(
        "--metadata",
        action="store_true",
        help="print each as an object with partition, offset, append_time and message",
    )
    add_kafka_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the messages. Returns 1 if the topic cannot be read, 2 for invalid settings."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # failures are raised
    try:
        config = kafka_of(arguments)
        ssl_context = make_ssl_context(config)
    except ConfigurationError as error:
        print(f"endpoint-analytics messages: {error}", file=sys.stderr)
        return 2
    try:
        return asyncio.run(_print(arguments, config, ssl_context))
    except KeyboardInterrupt:
        return 0


async def _print(
    arguments: argparse.Namespace, config: KafkaConfig, ssl_context: ssl.SSLContext | None
) -> int:
    topic = _TOPICS[arguments.topic].name(config.topic_prefix)
    consumer = AIOKafkaConsumer(
        **client_settings(config, ssl_context),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        await consumer.start()
        make_readable(consumer, _report)
        partitions = await _partitions(consumer, topic, arguments.partition)
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await _seek(consumer, partitions, ends, arguments)
        await _read(consumer, arguments, partitions, {} if arguments.follow else ends)
    except BrokenPipeError:
        raise  # whoever read the output has left
    except _NotThereError as error:
        print(f"endpoint-analytics messages: {error}", file=sys.stderr)
        return 1
    except (KafkaError, OSError, TimeoutError) as error:
        print(
            f"endpoint-analytics messages: {await explain_failure(error, config, ssl_context)}",
            file=sys.stderr,
        )
        return 1
    finally:
        await consumer.stop()
    return 0


class _NotThereError(Exception):
    """There is no such topic or partition."""


async def _partitions(consumer: AIOKafkaConsumer, topic: str, wanted: int | None) -> list[TopicPartition]:
    """Return the topic's partitions, or the wanted one; raises _NotThereError."""
    cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - without a subscription it knows no topic
    numbers = sorted(cluster.partitions_for_topic(topic) or ())
    if not numbers:
        raise _NotThereError(f"there is no topic {topic}; create the topics with endpoint-analytics topics")
    if wanted is not None and wanted not in numbers:
        raise _NotThereError(f"{topic} has no partition {wanted}, only 0 to {numbers[-1]}")
    return [TopicPartition(topic, number) for number in numbers if wanted in (None, number)]


async def _seek(
    consumer: AIOKafkaConsumer,
    partitions: Sequence[TopicPartition],
    ends: Mapping[TopicPartition, int],
    arguments: argparse.Namespace,
) -> None:
    since: datetime | None = arguments.since
    if since is None and not arguments.follow:
        await consumer.seek_to_beginning(*partitions)
        return
    found: Mapping[TopicPartition, Any] = {}
    if since is not None:
        since_ms = max(round(since.timestamp() * 1000), 0)
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
    for partition in partitions:
        at = found.get(partition)
        consumer.seek(partition, ends[partition] if at is None else at.offset)


async def _read(
    consumer: AIOKafkaConsumer,
    arguments: argparse.Namespace,
    partitions: Sequence[TopicPartition],
    ends: Mapping[TopicPartition, int],
) -> None:
    """Print what is there, up to `ends`; without them, for ever. Raises if the topic is not there any more."""
    left, silent_since = dict(ends), time.monotonic()
    while not ends or left:
        found = await consumer.getmany(timeout_ms=POLL_MS)
        for records in found.values():
            for record in records:
                if not ends or record.offset < ends[TopicPartition(record.topic, record.partition)]:
                    _print_record(record, arguments)
        sys.stdout.flush()
        for partition in list(left):
            if await consumer.position(partition) >= left[partition]:
                del left[partition]
        if found:
            silent_since = time.monotonic()
        elif time.monotonic() - silent_since > ASK_AFTER_S:
            # aiokafka goes on asking a broker or for a topic that is gone, and says nothing.
            await _partitions(consumer, partitions[0].topic, arguments.partition)
            async with asyncio.timeout(ASK_AFTER_S):
                await consumer.end_offsets(partitions)
            silent_since = time.monotonic()


def _print_record(record: Any, arguments: argparse.Namespace) -> None:
    where = {
        "partition": record.partition,
        "offset": record.offset,
        "append_time": datetime.fromtimestamp(record.timestamp / 1000, UTC).isoformat(
            timespec="milliseconds"
        ),
    }
    try:
        message = _as_json(arguments.topic, record.value)
    except InvalidMessageError as error:
        print(f"{record.topic}/{record.partition}, offset {record.offset}: {error}", file=sys.stderr)
        return
    if arguments.metadata:
        message = json.dumps(where)[:-1] + f', "message": {message}}}'
    print(message)


def _as_json(topic: str, value: bytes | None) -> str:
    """Return the message as one line of JSON; raises InvalidMessageError."""
    return msgspec.json.encode(_DECODERS[topic](value)).decode()


def _report(topic: str, partition: int, unreadable: Sequence[UnreadableBatch], holes: Sequence[Hole]) -> bool:
    del holes
    for batch in unreadable:
        print(f"{topic}/{partition}, {batch.detail}", file=sys.stderr)
    return True
