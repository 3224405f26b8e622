"""The command `endpoint-analytics`: finds the subcommand's module and runs it.

Only the table of commands belongs here. Each command's module provides `add_arguments(parser)` and
`run(arguments) -> int` (the exit status). A module is imported only when its command is run, so an agent
next to a model server does not need the dependencies of the worker or the local databases.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version

from endpoint_analytics.agents.command.installation import install_command
from endpoint_analytics.infra.heaps import limit_heaps
from endpoint_analytics.schemas.configuration.command_line import Parser
from endpoint_analytics.schemas.configuration.config_file import our_environment, without_secrets
from endpoint_analytics.schemas.configuration.settings import ConfigurationError, check_environment

# command -> (module, one-line description for --help)
COMMANDS: dict[str, tuple[str, str]] = {
    "run": (
        "endpoint_analytics.infra.local.run",
        "run everything on this machine, with a demo endpoint under live traffic",
    ),
    "kafka": ("endpoint_analytics.infra.local.kafka.command", "run Apache Kafka on this machine"),
    "topics": (
        "endpoint_analytics.infra.deploy.topics_command",
        "create the topics on an existing Kafka cluster",
    ),
    "messages": (
        "endpoint_analytics.infra.deploy.messages_command",
        "print a topic's messages as JSON lines",
    ),
    "doctor": (
        "endpoint_analytics.infra.doctor.command",
        "check Kafka, ClickHouse and this machine, and say how to fix what is wrong",
    ),
    "clickhouse": (
        "endpoint_analytics.infra.local.clickhouse.command",
        "run an embedded ClickHouse engine on this machine",
    ),
    "worker": ("endpoint_analytics.pipeline.stream.command", "run the Faust worker (Kafka to ClickHouse)"),
    "partitions": (
        "endpoint_analytics.pipeline.stream.partitions_command",
        "list paused partitions, resume one, or read again what a restored database lacks",
    ),
    "serve": (
        "endpoint_analytics.pipeline.serve.command",
        "run the query service (page, JSON API, OpenMetrics)",
    ),
    "signals": (
        "endpoint_analytics.pipeline.signals.command",
        "publish autoscaling signals (ClickHouse to Kafka)",
    ),
    "push": (
        "endpoint_analytics.pipeline.push.command",
        "push metrics to an OTLP receiver (an OpenTelemetry Collector, Prometheus)",
    ),
    "migrate": ("endpoint_analytics.pipeline.store.command", "create the tables, or bring them up to date"),
    "token": (
        "endpoint_analytics.pipeline.serve.access.token_command",
        "create, list or revoke access tokens",
    ),
    "agent": (
        "endpoint_analytics.agents.command.agent_command",
        "observe a server without changing its code",
    ),
    "replica": ("endpoint_analytics.agents.command.replica_command", "report a replica's state"),
    "fleet": ("endpoint_analytics.infra.fleet.command", "generate the load of thousands of replicas"),
    "endpoint": (
        "endpoint_analytics.agents.command.endpoint_command",
        "report an endpoint's replica settings",
    ),
}

# The extra that installs a command's dependencies. Commands not listed need none, or name their own.
EXTRAS = {
    "run": "demo",
    "kafka": "local",
    "clickhouse": "local",
    "fleet": "pipeline",
    "doctor": "pipeline",
    "worker": "pipeline",
    "serve": "pipeline",
    "signals": "pipeline",
    "push": "pipeline,otlp",
    "migrate": "pipeline",
    "token": "pipeline",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status (2 for a usage error)."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(
        prog="endpoint-analytics",
        description="Live analytics for model-inference endpoints.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n" + "\n".join(f"  {name:<12} {text}" for name, (_, text) in COMMANDS.items()),
    )
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="one of the commands below")
    if not words or words[0].startswith("-"):
        parser.add_argument(
            "--version", action="version", version=f"%(prog)s {version('endpoint-analytics')}"
        )
        parser.parse_args(words)
    name = parser.parse_args(words[:1]).command
    module_name, text = COMMANDS[name]
    limit_heaps()
    try:
        module = importlib.import_module(module_name)
        subparser = Parser(prog=f"endpoint-analytics {name}", description=text)
        module.add_arguments(subparser)
        arguments = subparser.parse_args(words[1:])
        check_environment(os.environ)
        os.environ.update(without_secrets(our_environment()))
        status: int = module.run(arguments)
        sys.stdout.flush()
    except ConfigurationError as error:
        print(f"endpoint-analytics {name}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return _reader_left()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("endpoint_analytics"):
            raise
        print(
            f"endpoint-analytics {name} needs the package {error.name!r}, which is not installed: "
            f"{install_command('local' if '--no-demo' in words else EXTRAS.get(name, 'pipeline'))}",
            file=sys.stderr,
        )
        return 1
    return status


def _reader_left() -> int:
    """Return the exit status of a program whose output nobody reads to its end, as in `doctor | head`."""
    # What is still buffered would be written when Python ends, and fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main())
