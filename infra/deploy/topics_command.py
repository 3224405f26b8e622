"""`endpoint-analytics topics`: creates the topics on any Kafka, and reports where existing ones differ."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.errors import KafkaError
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import (
    ConfigurationError,
    invalid_setting,
    parse_number,
    read_text,
    variable_of,
)
from endpoint_analytics.schemas.topics import AGENT_TOPICS, REJECTED, SIGNALS, TOPIC_CONFIG, TOPICS

LEAST_RETENTION_HOURS, LEAST_RETENTION_BYTES = 24, 64 * 1024 * 1024
"""A worker must have read a message before it is deleted: enough for a day's outage, and for several segments."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    add_kafka_options(parser)
    parser.add_argument(
        "--partitions",
        type=_positive,
        metavar="N",
        help="partitions of each topic that agents write to (default: 8)",
    )
    parser.add_argument(
        "--replication-factor", type=_positive, default=1, metavar="N",
        help="copies of each message; with 3, two must be in sync before a message counts as stored (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--retention-hours",
        metavar="N",
        help=f"how long Kafka keeps what agents sent (env: {variable_of('kafka_retention_hours')}; default: 168)",
    )
    parser.add_argument(
        "--retention-bytes",
        metavar="N",
        help="how much it keeps of that in each partition, -1 for no limit "
        f"(env: {variable_of('kafka_retention_bytes')}; default: the broker's)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Create missing topics. Returns 1 if a topic differs or cannot be created, 2 for invalid settings."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # failures are raised
    try:
        config = kafka_of(arguments)
        given = {
            "kafka_retention_hours": arguments.retention_hours,
            "kafka_retention_bytes": arguments.retention_bytes,
        }
        named = {variable_of(name): value for name, value in given.items() if value is not None}
        retention = read_retention(os.environ | named)
        specs = topic_specs(
            config.topic_prefix, arguments.partitions, arguments.replication_factor, retention
        )
        asyncio.run(ensure_topics(config, specs))
    except ConfigurationError as error:
        print(f"endpoint-analytics topics: {error}", file=sys.stderr)
        return 2
    except KafkaError as error:
        print(f"endpoint-analytics topics: {error}", file=sys.stderr)
        return 1
    for spec in specs:
        print(f"{spec.name}: {spec.partitions} partitions, {spec.replication_factor} replicas each")
    return 0


@dataclass(frozen=True, slots=True)
class LogRetention:
    """How long Kafka keeps what agents sent, and how much of it in each partition; None for the default."""

    hours: int | None = None
    size_bytes: int | None = None


def read_retention(environment: Mapping[str, str]) -> LogRetention:
    """Return the retention from the variables; raises ConfigurationError."""
    return LogRetention(
        _setting("kafka_retention_hours", environment, LEAST_RETENTION_HOURS),
        _setting("kafka_retention_bytes", environment, LEAST_RETENTION_BYTES),
    )


def _setting(name: str, environment: Mapping[str, str], least: int) -> int | None:
    text = read_text(environment, name)
    if not text:
        return None
    value = int(parse_number(name, text, int))
    if value < least and not (value == -1 and name == "kafka_retention_bytes"):
        raise invalid_setting(name, text)
    return value


def topic_specs(
    prefix: str, partitions: int | None, replication_factor: int, retention: LogRetention | None = None
) -> list[TopicSpec]:
    """Return the specification of every topic. With three or more replicas, all but one must be in sync."""
    kept = retention or LogRetention()
    config = dict(TOPIC_CONFIG)
    if replication_factor > 2:
        config["min.insync.replicas"] = str(replication_factor - 1)
    return [
        TopicSpec(
            topic.name(prefix),
            partitions if partitions and topic not in {REJECTED, SIGNALS} else topic.partitions,
            topic.retention_ms if kept.hours is None or topic not in AGENT_TOPICS else kept.hours * 3_600_000,
            replication_factor,
            config,
            kept.size_bytes if topic in AGENT_TOPICS else None,
        )
        for topic in TOPICS
    ]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return number
