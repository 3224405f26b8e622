"""The command-line options of every capture way: whose requests these are, and how they reach Kafka."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import replace

from endpoint_analytics.agents.core.config import ENVIRONMENT_PREFIX, AgentConfig, read_config
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import number_option, parse_list

# option -> what it says
_NAMES = {
    "--namespace": "owner of the endpoint",
    "--endpoint": "name of the endpoint",
    "--replica-id": "name of the replica (the host's name)",
    "--spool": "a directory that keeps what Kafka does not take (none)",
}


_ENGINE = {
    "--engine-ca-file": "certificates that vouch for the engine, PEM (the system's)",
    "--engine-server-name": "the name that its certificate is for (the address's)",
    "--engine-certificate-file": "our own certificate to the engine, PEM (none)",
    "--engine-key-file": "our own certificate's key, PEM",
}


def add_agent_options(parser: argparse.ArgumentParser, *, with_hardware: bool = True) -> None:
    """Add the options; each falls back to its ENDPOINT_ANALYTICS_ variable. Without --no-hardware where hardware is
    the command's own matter."""
    group = parser.add_argument_group(
        "replica", f"each also as a variable: --endpoint is {ENVIRONMENT_PREFIX}ENDPOINT"
    )
    for option, text in _NAMES.items():
        group.add_argument(option, metavar="...", help=text)
    if with_hardware:
        group.add_argument("--no-hardware", action="store_true", help="leave the hardware to another agent")
    add_kafka_options(parser)
    add_timeout_option(parser)


def add_timeout_option(parser: argparse.ArgumentParser) -> None:
    """Add how long a command waits for Kafka."""
    parser.add_argument(
        "--timeout", type=number_option(0), default=10.0, metavar="S", help="seconds to wait for Kafka (10)"
    )


def add_scrape_options(parser: argparse.ArgumentParser, *, with_url: bool = True) -> None:
    """Add the options of scraping a serving engine beside what the command does; without the URL where it is the
    command's own argument."""
    group = parser.add_argument_group("serving engine")
    if with_url:
        group.add_argument(
            "--scrape",
            metavar="URL",
            help="send the engine's own metrics along, as http://127.0.0.1:8000/metrics",
        )
    group.add_argument(
        "--metric",
        action="append",
        metavar="NAME=PROMETHEUS_NAME",
        help="send one more of its metrics, as engine_lora_slots=vllm:lora_slots; may be given several times",
    )
    group.add_argument(
        "--select", metavar="SELECTOR", help="read only what has these labels, as 'model=\"ensemble\"' (all)"
    )
    for option, text in _ENGINE.items():
        group.add_argument(option, metavar="...", help=text)
    group.add_argument("--engine-insecure", action="store_true", help="take any certificate of the engine")


def add_exclude_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that leaves requests out, where the command records requests."""
    parser.add_argument(
        "--exclude-paths",
        type=parse_list,
        metavar="PATHS",
        help="do not record requests of these paths, /health,/metrics; also "
        f"{ENVIRONMENT_PREFIX}EXCLUDE_PATHS (none)",
    )


def agent_config_of(arguments: argparse.Namespace) -> AgentConfig:
    """Return what the options and the environment say; raises ConfigurationError."""
    config = read_config(
        namespace=arguments.namespace,
        endpoint=arguments.endpoint,
        replica_id=arguments.replica_id,
        hardware=False if getattr(arguments, "no_hardware", False) else None,
        spool=arguments.spool,
        scrape=getattr(arguments, "scrape", None),
        scrape_metrics=getattr(arguments, "metric", None),
        scrape_select=getattr(arguments, "select", None),
        exclude_paths=getattr(arguments, "exclude_paths", None),
    )
    stated = f"{ENVIRONMENT_PREFIX}STOP_TIMEOUT_S" in os.environ
    stop_timeout_s = config.stop_timeout_s if stated else arguments.timeout
    names = (option.removeprefix("--").replace("-", "_") for option in _ENGINE)
    engine = {name: text for name in names if (text := getattr(arguments, name, None)) is not None}
    return replace(
        config,
        kafka=kafka_of(arguments),
        stop_timeout_s=stop_timeout_s,
        engine_insecure=config.engine_insecure or getattr(arguments, "engine_insecure", False),
        **engine,
    )


def log_to_stderr() -> None:
    """Show what the agent has to say: it has no application whose log it could use."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
