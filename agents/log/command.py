"""`endpoint-analytics agent log`: reads a log until told to end. Only arguments and signals belong here."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from endpoint_analytics.agents.agent import Agent
from endpoint_analytics.agents.agent_options import add_agent_options, agent_config_of, log_to_stderr
from endpoint_analytics.agents.config import AgentConfig, ConfigurationError
from endpoint_analytics.agents.log.formats import FORMATS, Parser, pattern_parser
from endpoint_analytics.agents.log.journal import Journal
from endpoint_analytics.agents.log.reader import LogReader, now_us
from endpoint_analytics.agents.outage import Outage
from endpoint_analytics.agents.producer import Producer, make_ssl_context
from endpoint_analytics.agents.quiet import quiet_client

PATTERN = "pattern"
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the log's options and the agent's."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="the access log, by the name it is written under"
    )
    parser.add_argument(
        "--format", required=True, choices=[*FORMATS, PATTERN], help="how its lines are written"
    )
    parser.add_argument(
        "--pattern", metavar="REGEX", help="with --format pattern: named groups, status and others"
    )
    parser.add_argument(
        "--position", type=Path, metavar="FILE", help="where to remember how far was read (FILE.position)"
    )
    parser.add_argument(
        "--from", choices=["start", "end"], default="end", dest="begin", help="where to begin at first (end)"
    )
    add_agent_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read the log; prints `log reader ready` once it follows. Returns the exit status."""
    path: Path = arguments.file.absolute()
    try:
        config = agent_config_of(arguments)
        make_ssl_context(config.kafka)
        parser = parser_of(arguments)
        journal = Journal(arguments.position or path.with_name(f"{path.name}.position"), config, now_us())
    except ConfigurationError as error:
        print(f"endpoint-analytics agent log: {error}", file=sys.stderr)
        return 2
    log_to_stderr()
    with quiet_client():
        return asyncio.run(_read(config, path, parser, journal, from_end=arguments.begin == "end"))


def parser_of(arguments: argparse.Namespace) -> Parser:
    """Return what reads the lines; raises ConfigurationError."""
    if (arguments.format == PATTERN) != (arguments.pattern is not None):
        raise ConfigurationError("--format pattern and --pattern go together")
    return FORMATS[arguments.format] if arguments.pattern is None else pattern_parser(arguments.pattern)


async def _read(config: AgentConfig, path: Path, parser: Parser, journal: Journal, *, from_end: bool) -> int:
    producer = Producer(config.kafka, make_ssl_context(config.kafka), Outage(config.kafka.bootstrap_servers))
    reader = LogReader(config, path, parser, journal, producer, from_end=from_end)
    agent = Agent(config, requests=False)
    agent.start()
    agent.enter("running")
    loop = asyncio.get_running_loop()
    reading = loop.create_task(reader.run())
    for number in SIGNALS:
        loop.add_signal_handler(number, _end, reader, reading, config.stop_timeout_s)
    print(f"log reader ready {path}", flush=True)
    try:
        await reading
    except asyncio.CancelledError:  # Kafka took too long; the journal has what is on its way
        pass
    finally:
        await loop.run_in_executor(None, agent.stop)
        await reader.close()
    return 0


def _end(reader: LogReader, reading: asyncio.Task[None], timeout_s: float) -> None:
    reader.stop()
    asyncio.get_running_loop().call_later(timeout_s, reading.cancel)
