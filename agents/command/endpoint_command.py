"""The command `endpoint-analytics endpoint set`: report an endpoint's minimum and maximum replicas."""

from __future__ import annotations

import argparse
import sys

from endpoint_analytics.agents.command.agent_options import add_timeout_option
from endpoint_analytics.agents.command.set_command import add_set, parse_time_us
from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.delivery.orchestrator_events import SendError, send_endpoint_settings
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.errors import InvalidMessageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `set` and its options."""
    setting = add_set(parser, "report the endpoint's replica limits")
    setting.add_argument("--namespace", required=True, metavar="NAME", help="owner of the endpoint")
    setting.add_argument("--endpoint", required=True, metavar="NAME", help="name of the endpoint")
    setting.add_argument("--min-replicas", required=True, type=int, metavar="N", help="minimum replicas")
    setting.add_argument("--max-replicas", required=True, type=int, metavar="N", help="maximum replicas")
    setting.add_argument(
        "--at",
        type=parse_time_us,
        metavar="TIME",
        help="when the limits take effect, ISO 8601 (default: now)",
    )
    add_kafka_options(setting)
    add_timeout_option(setting)


def run(arguments: argparse.Namespace) -> int:
    """Send the settings; returns 0 once Kafka has stored them, otherwise 1 after printing why."""
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
