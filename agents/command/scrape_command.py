"""`endpoint-analytics agent scrape`: scrapes until told to end. Only arguments and signals belong here.

It tells no states and no requests: those are for what stands in front of the engine or starts it. A replica of which
nobody else speaks runs while its engine answers.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from dataclasses import replace

from endpoint_analytics.agents.command.agent_options import (
    add_agent_options,
    add_scrape_options,
    agent_config_of,
    log_to_stderr,
)
from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.scrape.settings import scrape_settings

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the URL, the metrics and the agent's options."""
    parser.add_argument(
        "scrape",
        metavar="URL",
        help="the engine's metrics, as http://127.0.0.1:8000/metrics (/metrics by default)",
    )
    parser.add_argument(
        "--hardware", action="store_true", help="send the hardware too, where no other agent does"
    )
    add_scrape_options(parser, with_url=False)
    add_agent_options(parser, with_hardware=False)


def run(arguments: argparse.Namespace) -> int:
    """Scrape; prints `scraping URL` once it begins. Returns the exit status."""
    try:
        config = replace(agent_config_of(arguments), states=False, hardware=arguments.hardware)
        settings = scrape_settings(config)
        if settings is None:
            raise ConfigurationError("no URL; it takes http://host:port/metrics")
        agent = Agent(config, requests=False)
    except ConfigurationError as error:
        print(f"endpoint-analytics agent scrape: {error}", file=sys.stderr)
        return 2
    log_to_stderr()
    told = threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: told.set())
    agent.start()
    print(f"scraping {settings.target}", flush=True)
    told.wait()
    for number in SIGNALS:  # a second signal ends the process at once
        signal.signal(number, signal.SIG_DFL)
    agent.stop()
    return 0
