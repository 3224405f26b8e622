"""What the worker can be told: by flags, else by environment variables, else defaults."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from endpoint_analytics.pipeline.core.chunks import ChunkRule
from endpoint_analytics.pipeline.core.partition import Bounds
from endpoint_analytics.pipeline.store.connect import (
    ClickHouseConfig,
    add_clickhouse_arguments,
    clickhouse_config,
)
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX

_PREFIX = "ENDPOINT_ANALYTICS_"


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How to log in to Kafka; empty strings for a plain connection. The password comes from the environment."""

    protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The worker's settings.

    `group` is the Kafka consumer group: workers of one group share the partitions. `instance_id` makes the
    membership static: a worker that comes back under it within `session_timeout_s` takes up its partitions
    at once. `flush_s` is the longest that folded rows wait before they are written. `max_rejected_share`: see
    `rejections`. Without a `health_port` there is no HTTP server.
    """

    brokers: str
    clickhouse: ClickHouseConfig
    topic_prefix: str = DEFAULT_PREFIX
    group: str = "endpoint-analytics"
    instance_id: str = ""
    session_timeout_s: float = 30.0
    flush_s: float = 0.5
    max_rejected_share: float = 0.9
    health_host: str = "127.0.0.1"
    health_port: int = 0
    rule: ChunkRule = field(default_factory=ChunkRule)
    bounds: Bounds = field(default_factory=Bounds)
    security: KafkaSecurity = field(default_factory=KafkaSecurity)


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the worker's flags and those of ClickHouse."""
    parser.add_argument("--kafka", metavar="HOST:PORT,...", help=f"brokers ({_PREFIX}KAFKA; 127.0.0.1:9092)")
    parser.add_argument(
        "--topic-prefix",
        metavar="NAME",
        help=f"before the topics' names ({_PREFIX}TOPIC_PREFIX; {DEFAULT_PREFIX})",
    )
    parser.add_argument(
        "--group", metavar="NAME", help=f"consumer group ({_PREFIX}GROUP; endpoint-analytics)"
    )
    parser.add_argument(
        "--instance-id",
        metavar="NAME",
        help=f"this worker's name in the group, kept over restarts ({_PREFIX}INSTANCE_ID; none)",
    )
    parser.add_argument(
        "--session-timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="a worker silent for so long is out (30)",
    )
    parser.add_argument(
        "--max-rejected-share",
        type=float,
        default=0.9,
        metavar="SHARE",
        help="stop when a larger share of a topic's messages is rejected (0.9; 1: never)",
    )
    parser.add_argument("--health-host", default="127.0.0.1", help="address of /health, /ready, /metrics")
    parser.add_argument("--health-port", type=int, default=0, metavar="PORT", help="their port (0: no HTTP)")
    add_clickhouse_arguments(parser)


def worker_config(
    arguments: argparse.Namespace, environment: Mapping[str, str] | None = None
) -> WorkerConfig:
    """Return the settings of parsed flags and the environment."""
    given = os.environ if environment is None else environment

    def setting(flag: str | None, name: str, default: str) -> str:
        return flag or given.get(_PREFIX + name) or default

    return WorkerConfig(
        brokers=setting(arguments.kafka, "KAFKA", "127.0.0.1:9092"),
        topic_prefix=setting(arguments.topic_prefix, "TOPIC_PREFIX", DEFAULT_PREFIX),
        group=setting(arguments.group, "GROUP", "endpoint-analytics"),
        instance_id=setting(arguments.instance_id, "INSTANCE_ID", ""),
        session_timeout_s=arguments.session_timeout,
        max_rejected_share=arguments.max_rejected_share,
        health_host=arguments.health_host,
        health_port=arguments.health_port,
        clickhouse=clickhouse_config(arguments, given),
        security=kafka_security(given),
    )


def kafka_security(environment: Mapping[str, str]) -> KafkaSecurity:
    """Return what the ENDPOINT_ANALYTICS_KAFKA_* variables say of logging in."""
    return KafkaSecurity(
        protocol=environment.get(f"{_PREFIX}KAFKA_SECURITY_PROTOCOL") or "PLAINTEXT",
        sasl_mechanism=environment.get(f"{_PREFIX}KAFKA_SASL_MECHANISM", ""),
        username=environment.get(f"{_PREFIX}KAFKA_USERNAME", ""),
        password=environment.get(f"{_PREFIX}KAFKA_PASSWORD", ""),
        ca_file=environment.get(f"{_PREFIX}KAFKA_CA_FILE", ""),
    )
