"""Command-line options shared by all capture methods: which replica this is, and how to reach Kafka."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import replace

from endpoint_analytics.agents.core.config import ENVIRONMENT_PREFIX, AgentConfig, read_config
from endpoint_analytics.schemas.configuration.kafka_options import add_kafka_options, kafka_of
from endpoint_analytics.schemas.configuration.settings import number_option, parse_list

# option -> (metavar, help)
_NAMES = {
    "--namespace": ("NAME", "owner of the endpoint"),
    "--endpoint": ("NAME", "name of the endpoint"),
    "--replica-id": ("NAME", "name of the replica (default: the host name)"),
    "--spool": ("DIR", "keep messages here while Kafka is unavailable (default: no spool)"),
}


_ENGINE = {
    "--engine-ca-file": ("FILE", "CA certificates to verify the serving engine, PEM (default: the system's)"),
    "--engine-server-name": ("NAME", "host name in the engine's certificate (default: the URL's host)"),
    "--engine-certificate-file": ("FILE", "client certificate to present to the engine, PEM (default: none)"),
    "--engine-key-file": ("FILE", "key of the client certificate, PEM"),
}


def add_agent_options(parser: argparse.ArgumentParser, *, with_hardware: bool = True) -> None:
    """Add the options; each falls back to its ENDPOINT_ANALYTICS_ variable.

    `with_hardware=False` omits --no-hardware, for commands with their own hardware option.
    """
    group = parser.add_argument_group(
        "replica",
        f"each can also be set by an environment variable: --endpoint is {ENVIRONMENT_PREFIX}ENDPOINT",
    )
    for option, (metavar, text) in _NAMES.items():
        group.add_argument(option, metavar=metavar, help=text)
    if with_hardware:
        group.add_argument("--no-hardware", action="store_true", help="do not sample hardware")
    add_kafka_options(parser)
    add_timeout_option(parser)


def add_timeout_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for how long a command waits for Kafka."""
    parser.add_argument(
        "--timeout",
        type=number_option(0),
        default=10.0,
        metavar="SECONDS",
        help="time to wait for Kafka (default: %(default)g)",
    )


def add_scrape_options(parser: argparse.ArgumentParser, *, with_url: bool = True) -> None:
    """Add the options for scraping a serving engine.

    `with_url=False` omits --scrape, for commands that take the URL as an argument.
    """
    group = parser.add_argument_group("serving engine")
    if with_url:
        group.add_argument(
            "--scrape",
            metavar="URL",
            help="also collect the engine's own metrics from this URL, e.g. http://127.0.0.1:8000/metrics",
        )
    group.add_argument(
        "--metric",
        action="append",
        metavar="NAME=PROMETHEUS_NAME",
        help="collect one more of its metrics, e.g. engine_lora_slots=vllm:lora_slots; repeatable",
    )
    group.add_argument(
        "--select",
        metavar="SELECTOR",
        help="read only samples with these labels, e.g. 'model=\"ensemble\"' (default: all)",
    )
    for option, (metavar, text) in _ENGINE.items():
        group.add_argument(option, metavar=metavar, help=text)
    group.add_argument(
        "--engine-insecure", action="store_true", help="do not verify the engine's certificate"
    )


def add_exclude_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that excludes requests, for commands that record requests."""
    parser.add_argument(
        "--exclude-paths",
        type=parse_list,
        metavar="PATHS",
        help="do not record requests for these paths, e.g. /health,/metrics; also "
        f"{ENVIRONMENT_PREFIX}EXCLUDE_PATHS (default: none)",
    )


def agent_config_of(arguments: argparse.Namespace) -> AgentConfig:
    """Return the settings from the options and the environment; raises ConfigurationError."""
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
    is_set = f"{ENVIRONMENT_PREFIX}STOP_TIMEOUT_S" in os.environ
    stop_timeout_s = config.stop_timeout_s if is_set else arguments.timeout
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
    """Log to stderr: a standalone agent has no application log to write to."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
