"""`endpoint-analytics agent scrape`: scrapes until a signal. Only arguments and signals belong here.

It reports no states and no requests: that is up to the proxy in front of the serving engine, or its launcher. A replica
that nothing else reports counts as running while its engine answers.
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
        help="the serving engine's metrics, e.g. http://127.0.0.1:8000/metrics (default path: /metrics)",
    )
    parser.add_argument(
        "--hardware", action="store_true", help="also sample hardware, where no other agent does"
    )
    add_scrape_options(parser, with_url=False)
    add_agent_options(parser, with_hardware=False)


def run(arguments: argparse.Namespace) -> int:
    """Scrape; prints `scraping URL` once it starts. Returns the exit status."""
    try:
        config = replace(agent_config_of(arguments), states=False, hardware=arguments.hardware)
        settings = scrape_settings(config)
        if settings is None:
            raise ConfigurationError("no URL: expected http://HOST:PORT/metrics")
        agent = Agent(config, requests=False)
    except ConfigurationError as error:
        print(f"endpoint-analytics agent scrape: {error}", file=sys.stderr)
        return 2
    log_to_stderr()
    stopping = threading.Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: stopping.set())
    agent.start()
    print(f"scraping {settings.target}", flush=True)
    stopping.wait()
    for number in SIGNALS:  # a second signal ends the process at once
        signal.signal(number, signal.SIG_DFL)
    agent.stop()
    return 0
