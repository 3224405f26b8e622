"""The worker's configuration: from flags, else environment variables, else defaults."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from endpoint_analytics.pipeline.core.chunks import ChunkRule
from endpoint_analytics.pipeline.core.partition import Bounds
from endpoint_analytics.schemas.configuration.clickhouse_config import (
    ClickHouseConfig,
    add_clickhouse_options,
    clickhouse_of,
)
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import PREFIX as _PREFIX
from endpoint_analytics.schemas.configuration.settings import number_option, port_option, read_text

DEFAULT_GROUP = "endpoint-analytics"


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The worker's settings.

    `group` is the Kafka consumer group: workers of one group share the partitions. `instance_id` makes membership
    static: a worker that returns under the same id within `session_timeout_s` gets its partitions back at once.
    `flush_s` is how long messages are gathered before they are read, and the shortest time between two writes; twice
    that for samples.
    `max_rejected_share`: see `rejection_limit`.
    Without `health_port` there is no HTTP server.
    """

    clickhouse: ClickHouseConfig
    kafka: KafkaConfig = field(default_factory=KafkaConfig)
    group: str = DEFAULT_GROUP
    instance_id: str = ""
    session_timeout_s: float = 30.0
    flush_s: float = 0.75
    max_rejected_share: float = 0.9
    health_host: str = "127.0.0.1"
    health_port: int = 0
    rule: ChunkRule = field(default_factory=ChunkRule)
    bounds: Bounds = field(default_factory=Bounds)


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the worker's flags and those of Kafka and ClickHouse."""
    add_kafka_options(parser)
    add_group_option(parser)
    parser.add_argument(
        "--instance-id",
        metavar="NAME",
        help=f"this worker's static name in the group, the same after a restart (env: {_PREFIX}INSTANCE_ID; "
        "default: none)",
    )
    parser.add_argument(
        "--session-timeout",
        type=number_option(1, 3600),
        default=30.0,
        metavar="SECONDS",
        help="remove a worker from the group after this long without a heartbeat (default: 30)",
    )
    parser.add_argument(
        "--max-rejected-share",
        type=number_option(0, 1),
        default=0.9,
        metavar="SHARE",
        help="pause a partition if a larger share of its messages and of its senders is rejected; 1 disables it "
        "(default: 0.9)",
    )
    parser.add_argument(
        "--health-host",
        default="127.0.0.1",
        help="address to serve /health, /ready and /metrics on (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--health-port",
        type=port_option,
        default=0,
        metavar="PORT",
        help="port to serve them on; 0 disables HTTP (default: 0)",
    )
    add_clickhouse_options(parser)


def add_group_option(parser: argparse.ArgumentParser) -> None:
    """Add the flag of the workers' group."""
    parser.add_argument(
        "--group", metavar="NAME", help=f"consumer group (env: {_PREFIX}GROUP; default: {DEFAULT_GROUP})"
    )


def group_of(arguments: argparse.Namespace, environment: Mapping[str, str] | None = None) -> str:
    """Return the workers' group; raises ConfigurationError."""
    given = os.environ if environment is None else environment
    return arguments.group or read_text(given, "group") or DEFAULT_GROUP


def worker_config(
    arguments: argparse.Namespace, environment: Mapping[str, str] | None = None
) -> WorkerConfig:
    """Return the settings from parsed flags and the environment; raises ConfigurationError."""
    given = os.environ if environment is None else environment
    return WorkerConfig(
        kafka=kafka_of(arguments, given),
        group=group_of(arguments, given),
        instance_id=arguments.instance_id or read_text(given, "instance_id") or "",
        session_timeout_s=arguments.session_timeout,
        max_rejected_share=arguments.max_rejected_share,
        health_host=arguments.health_host,
        health_port=arguments.health_port,
        clickhouse=clickhouse_of(arguments, given),
    )
