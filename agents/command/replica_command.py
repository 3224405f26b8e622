"""The command `endpoint-analytics replica set`: report a replica's state, as an orchestrator would."""

from __future__ import annotations

import argparse
import sys

from endpoint_analytics.agents.command.agent_options import add_timeout_option
from endpoint_analytics.agents.command.set_command import add_set, parse_time_us
from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.delivery.orchestrator_events import SendError, send_replica_state
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.replicas import STATES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `set` and its options."""
    setting = add_set(parser, "report that the replica entered a state")
    setting.add_argument("--namespace", required=True, metavar="NAME", help="owner of the endpoint")
    setting.add_argument("--endpoint", required=True, metavar="NAME", help="name of the endpoint")
    setting.add_argument("--replica-id", required=True, metavar="NAME", help="name of the replica")
    setting.add_argument("--state", required=True, choices=STATES, help="state that it entered")
    setting.add_argument("--reason", default="", metavar="TEXT", help="human-readable reason (default: none)")
    setting.add_argument(
        "--at", type=parse_time_us, metavar="TIME", help="when it entered the state, ISO 8601 (default: now)"
    )
    add_kafka_options(setting)
    add_timeout_option(setting)


def run(arguments: argparse.Namespace) -> int:
    """Send the state; returns 0 once Kafka has stored it, otherwise 1 after printing why."""
    try:
        send_replica_state(
            arguments.namespace,
            arguments.endpoint,
            arguments.replica_id,
            arguments.state,
            reason=arguments.reason,
            at_us=arguments.at,
            kafka=kafka_of(arguments),
            timeout_s=arguments.timeout,
        )
    except (ConfigurationError, InvalidMessageError, SendError) as error:
        print(f"endpoint-analytics replica set: {error}", file=sys.stderr)
        return 1
    return 0
