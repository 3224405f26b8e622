"""The command `endpoint-analytics endpoint set`: tell an endpoint's minimum and maximum replicas."""

from __future__ import annotations

import argparse
import sys

from endpoint_analytics.agents.command.agent_options import add_timeout_option
from endpoint_analytics.agents.command.replica_command import parse_time_us
from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.delivery.events import SendError, send_endpoint_settings
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.errors import InvalidMessageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `set` and its options."""
    parser.add_argument("action", choices=["set"], help="tell the endpoint's settings")
    parser.add_argument("--namespace", required=True, help="owner of the endpoint")
    parser.add_argument("--endpoint", required=True, help="name of the endpoint")
    parser.add_argument("--min-replicas", required=True, type=int, metavar="N", help="least replicas")
    parser.add_argument("--max-replicas", required=True, type=int, metavar="N", help="most replicas")
    parser.add_argument("--at", type=parse_time_us, metavar="TIME", help="from when on, ISO 8601 (now)")
    add_kafka_options(parser)
    add_timeout_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send the settings; returns 0 when Kafka has stored them, 1 with an explanation when it has not."""
    try:
        send_endpoint_settings(
            arguments.namespace,
            arguments.endpoint,
            min_replicas=arguments.min_replicas,
            max_replicas=arguments.max_replicas,
            at_us=arguments.at,
            kafka=kafka_of(arguments),
            timeout_s=arguments.timeout,
        )
    except (ConfigurationError, InvalidMessageError, SendError) as error:
        print(f"endpoint-analytics endpoint set: {error}", file=sys.stderr)
        return 1
    return 0
