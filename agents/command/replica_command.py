"""The command `endpoint-analytics replica set`: tell a replica's state, as an orchestrator does."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from endpoint_analytics.agents.command.agent_options import add_timeout_option
from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.delivery.events import SendError, send_replica_state
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.replicas import STATES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `set` and its options."""
    parser.add_argument("action", choices=["set"], help="tell that the replica entered a state")
    parser.add_argument("--namespace", required=True, help="owner of the endpoint")
    parser.add_argument("--endpoint", required=True, help="name of the endpoint")
    parser.add_argument("--replica-id", required=True, help="name of the replica")
    parser.add_argument("--state", required=True, choices=STATES, help="state that it entered")
    parser.add_argument("--reason", default="", help="why, for people")
    parser.add_argument("--at", type=parse_time_us, metavar="TIME", help="when, ISO 8601 (now)")
    add_kafka_options(parser)
    add_timeout_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send the state; returns 0 when Kafka has stored it, 1 with an explanation when it has not."""
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


def parse_time_us(text: str) -> int:
    """Return microseconds since 1970 of an ISO 8601 time; without an offset it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no ISO 8601 time such as 2026-01-31T12:00:00Z"
        ) from error
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
