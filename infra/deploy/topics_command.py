"""`endpoint-analytics topics`: creates the topics on any Kafka, and reports where existing ones differ."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.errors import KafkaError
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import ConfigurationError
from endpoint_analytics.schemas.topics import REJECTED, SIGNALS, TOPIC_CONFIG, TOPICS


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


def run(arguments: argparse.Namespace) -> int:
    """Create missing topics. Returns 1 if a topic differs or cannot be created, 2 for invalid settings."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # failures are raised
    try:
        config = kafka_of(arguments)
        specs = topic_specs(config.topic_prefix, arguments.partitions, arguments.replication_factor)
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


def topic_specs(prefix: str, partitions: int | None, replication_factor: int) -> list[TopicSpec]:
    """Return the specification of every topic. With three or more replicas, all but one must be in sync."""
    config = dict(TOPIC_CONFIG)
    if replication_factor > 2:
        config["min.insync.replicas"] = str(replication_factor - 1)
    return [
        TopicSpec(
            topic.name(prefix),
            partitions if partitions and topic not in {REJECTED, SIGNALS} else topic.partitions,
            topic.retention_ms,
            replication_factor,
            config,
        )
        for topic in TOPICS
    ]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return number
