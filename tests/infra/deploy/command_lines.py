"""Whether our own parsers take a command line, and our settings its variables: a renamed option breaks a deployment."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from endpoint_analytics.agents.command.agent_command import SUBCOMMANDS
from endpoint_analytics.infra.command import COMMANDS
from endpoint_analytics.schemas.configuration.clickhouse_config import (
    ClickHouseConfig,
    read_clickhouse_config,
)
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig, read_kafka_config
from endpoint_analytics.schemas.configuration.settings import PREFIX, check_environment

SECRET_VARIABLES = {f"{PREFIX}{name}_PASSWORD_FILE" for name in ("KAFKA", "KAFKA_KEY", "CLICKHOUSE")}


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """Return the arguments as our parser reads them, without abbreviations; exits for those that it refuses."""
    command, *rest = words
    if command == "agent":
        name, *rest = rest
        module = importlib.import_module(SUBCOMMANDS[name][0])
    else:
        module = importlib.import_module(COMMANDS[command][0])
    parser = argparse.ArgumentParser(allow_abbrev=False)
    module.add_arguments(parser)
    return parser.parse_args(rest)


def with_secrets(variables: Mapping[str, str], directory: Path) -> dict[str, str]:
    """Return the variables with password files that exist: their first line is the path that was named."""
    found = dict(variables)
    for name in SECRET_VARIABLES & found.keys():
        path = directory / name
        path.write_text(f"{found[name]}\n")
        found[name] = str(path)
    return found


def connections(variables: Mapping[str, str], directory: Path) -> tuple[KafkaConfig, ClickHouseConfig]:
    """Return how a process with these variables reaches Kafka and ClickHouse; each variable of ours must be known."""
    environment = with_secrets(variables, directory)
    check_environment(environment)
    return read_kafka_config(environment=environment), read_clickhouse_config(environment)
