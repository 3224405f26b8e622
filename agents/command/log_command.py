"""`endpoint-analytics agent log`: reads an access log until a signal. Only arguments and signals belong here."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
import signal
import sys
from pathlib import Path

from endpoint_analytics.agents.command.agent_options import (
    add_agent_options,
    add_exclude_option,
    add_scrape_options,
    agent_config_of,
    log_to_stderr,
)
from endpoint_analytics.agents.core.config import AgentConfig, ConfigurationError
from endpoint_analytics.agents.core.file_lock import FileLock, acquire
from endpoint_analytics.agents.delivery.client_log_filter import quiet_client
from endpoint_analytics.agents.delivery.outage import Outage
from endpoint_analytics.agents.delivery.producer import Producer
from endpoint_analytics.agents.log.formats import FORMATS, Parser, pattern_parser
from endpoint_analytics.agents.log.position_file import PositionFile
from endpoint_analytics.agents.log.reader import AccessLogReader, now_us
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.replica.process_group import runtime_directory
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context

logger = logging.getLogger("endpoint_analytics")

PATTERN = "pattern"
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the access log's options and the agent's."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="path that the server writes its access log to"
    )
    parser.add_argument("--format", required=True, choices=[*FORMATS, PATTERN], help="format of its lines")
    parser.add_argument(
        "--pattern", metavar="REGEX", help="with --format pattern: a regex with named groups, such as status"
    )
    parser.add_argument(
        "--position",
        type=Path,
        metavar="FILE",
        help="file that stores the read position (default: the access log's path plus .position)",
    )
    parser.add_argument(
        "--from",
        choices=["start", "end"],
        default="end",
        dest="begin",
        help="where to start without a stored position (default: %(default)s)",
    )
    add_exclude_option(parser)
    add_agent_options(parser)
    add_scrape_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read the access log; prints `log reader ready` once it follows. Returns the exit status."""
    path: Path = arguments.file.absolute()
    lock: FileLock | None = None
    try:
        config = agent_config_of(arguments)
        agent = Agent(config, requests=False)
        parser = parser_of(arguments)
        if not path.parent.is_dir():
            raise ConfigurationError(
                f"the directory {path.parent} of the access log {path.name} does not exist: correct the path"
            )
        if path.exists() and not path.is_file():
            raise ConfigurationError(
                f"{path} is not a regular file, so reading cannot resume after a restart"
            )
        lock = hold_log(path, config)
        positions = PositionFile(
            arguments.position or path.with_name(f"{path.name}.position"), config, now_us()
        )
    except ConfigurationError as error:
        print(f"endpoint-analytics agent log: {error}", file=sys.stderr)
        if lock is not None:
            lock.release()
        return 2
    try:
        log_to_stderr()
        if not path.exists():
            logger.warning("%s does not exist yet: waiting for it", path)
        with quiet_client():
            return asyncio.run(_read(agent, path, parser, positions, from_end=arguments.begin == "end"))
    finally:
        if lock is not None:
            lock.release()


def hold_log(path: Path, config: AgentConfig) -> FileLock | None:
    """Lock this access log for this replica, whatever the position file; raises ConfigurationError if it is taken.

    Returns None where processes have no shared runtime directory.
    """
    directory = runtime_directory()
    if directory is None:
        return None
    resolved = path.parent.resolve() / path.name
    identity = (
        f"{resolved}\n{config.namespace}/{config.endpoint}/{config.replica_id}/{config.kafka.topic_prefix}"
    )
    try:
        held = acquire(directory / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.reader")
    except OSError:
        return None
    if held is None:
        raise ConfigurationError(
            f"another log reader already reads {path} for "
            f"{config.namespace}/{config.endpoint}/{config.replica_id}: two would count each request twice"
        )
    return held


def parser_of(arguments: argparse.Namespace) -> Parser:
    """Return the line parser; raises ConfigurationError."""
    if (arguments.format == PATTERN) != (arguments.pattern is not None):
        raise ConfigurationError("--format pattern and --pattern require each other")
    return FORMATS[arguments.format] if arguments.pattern is None else pattern_parser(arguments.pattern)


async def _read(agent: Agent, path: Path, parser: Parser, positions: PositionFile, *, from_end: bool) -> int:
    config = agent.config
    producer = Producer(config.kafka, make_ssl_context(config.kafka), Outage(config.kafka.bootstrap_servers))
    reader = AccessLogReader(config, path, parser, positions, producer, from_end=from_end)
    agent.start()
    agent.enter("running")
    loop = asyncio.get_running_loop()
    reading = loop.create_task(_follow(reader, path))
    for number in SIGNALS:
        loop.add_signal_handler(number, _stop, reader, reading, config.stop_timeout_s)
    try:
        await reading
    except asyncio.CancelledError:  # Kafka took too long; the position file holds the batch in flight
        pass
    finally:
        await loop.run_in_executor(None, agent.stop)
        await reader.close()
    return 0


async def _follow(reader: AccessLogReader, path: Path) -> None:
    await reader.begin()
    print(f"log reader ready {path}", flush=True)
    await reader.run()


def _stop(reader: AccessLogReader, reading: asyncio.Task[None], timeout_s: float) -> None:
    reader.stop()
    asyncio.get_running_loop().call_later(timeout_s, reading.cancel)
