"""The command `endpoint-analytics agent run -- COMMAND`: starts a server and reports its life as a replica.

The server needs no changes: states and hardware are reported from here. A middleware in the server reads from its
environment which replica it belongs to, and that it must not report states and hardware itself.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence

from endpoint_analytics.agents.command.agent_options import (
    add_agent_options,
    add_scrape_options,
    agent_config_of,
    log_to_stderr,
)
from endpoint_analytics.agents.core.config import ENVIRONMENT_PREFIX, AgentConfig, ConfigurationError
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.run.child import (
    ENDING,
    NOT_EXECUTABLE,
    NOT_FOUND,
    block_signals,
    exit_status,
    next_signal,
    reap,
    spawn,
)
from endpoint_analytics.agents.run.life import ChildLife
from endpoint_analytics.agents.run.oom import OomWatch
from endpoint_analytics.agents.run.probe import ReadyProbe
from endpoint_analytics.agents.run.tree import run_collectors
from endpoint_analytics.agents.scrape.engine_tls import engine_tls

POLL_INTERVAL_S = 0.1
WAIT_FOR_KAFKA_S = 3.0
"""After the server has ended: a container gets 10 s for its whole shutdown."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options and the command."""
    add_agent_options(parser)
    add_scrape_options(parser)
    parser.set_defaults(timeout=WAIT_FOR_KAFKA_S)
    parser.epilog = (
        f"--timeout defaults to {WAIT_FOR_KAFKA_S:g} here: the wait for Kafka after the server has ended."
    )
    parser.add_argument(
        "--ready-url",
        metavar="URL",
        help="the replica is running once this URL answers with a status below 400 (default: at once)",
    )
    parser.add_argument(
        "--ready-within",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="report the replica as failed if it is not ready by then; the server keeps running "
        "(default: %(default)g)",
    )
    parser.add_argument("server", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the server's command")


def run(arguments: argparse.Namespace) -> int:
    """Run the server until it ends; returns its exit status, 128 plus the signal's number, 127 or 126."""
    command = arguments.server[1:] if arguments.server[:1] == ["--"] else arguments.server
    if not command:
        print("endpoint-analytics agent run: no command: expected -- COMMAND ...", file=sys.stderr)
        return 2
    if not hasattr(os, "posix_spawnp"):
        print("endpoint-analytics agent run: this system has no posix_spawn", file=sys.stderr)
        return 2
    log_to_stderr()
    try:
        config = agent_config_of(arguments)
        probe = ReadyProbe(arguments.ready_url, engine_tls(config)) if arguments.ready_url else None
        agent = Agent(config, run_collectors(), requests=False)
    except ConfigurationError as error:
        print(f"endpoint-analytics agent run: {error}", file=sys.stderr)
        return 2
    block_signals()
    agent.start()
    life = ChildLife(agent.enter, arguments.ready_within)
    try:
        return _run(command, child_environment(os.environ, config), life, probe)
    finally:
        agent.stop()


def _run(
    command: Sequence[str], environment: Mapping[str, str], life: ChildLife, probe: ReadyProbe | None
) -> int:
    try:
        child = spawn(command, environment)
    except OSError as error:
        print(f"endpoint-analytics agent run: {command[0]}: {error.strerror}", file=sys.stderr)
        unstarted = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        life.ended(unstarted)
        return unstarted
    started_s, oom = time.monotonic(), OomWatch()
    if probe is None:
        life.ready()
    else:
        probe.start()
    try:
        while (status := reap(child)) is None:
            number = next_signal(None if life.is_ready or life.asked_to_end else POLL_INTERVAL_S)
            if number is not None:
                _forward(number, child, life)
            if probe is not None and not life.is_ready:
                if probe.is_ready:
                    life.ready()
                else:
                    life.waited(time.monotonic() - started_s, f"{probe.url}: {probe.last_error}")
    finally:
        if probe is not None:
            probe.stop()
    life.ended(status, oom.has_killed())
    return exit_status(status)


def _forward(number: int, child: int, life: ChildLife) -> None:
    """Forward the signal to the server, except SIGCHLD, which is for the launcher."""
    if number == signal.SIGCHLD:
        return
    if number in ENDING:
        life.signalled(number)
    os.kill(child, number)  # not reaped yet, so the process id is still the server's


def child_environment(environment: Mapping[str, str], config: AgentConfig) -> dict[str, str]:
    """Return the server's environment: tells a middleware in it which replica it is, and to report nothing twice."""
    kafka = config.kafka
    settings = {
        "NAMESPACE": config.namespace,
        "ENDPOINT": config.endpoint,
        "REPLICA_ID": config.replica_id,
        "KAFKA": kafka.bootstrap_servers,
        "TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_SECURITY_PROTOCOL": kafka.security_protocol,
        "KAFKA_SASL_MECHANISM": kafka.sasl_mechanism,
        "KAFKA_USERNAME": kafka.username,
        "KAFKA_CA_FILE": kafka.ca_file,
        "KAFKA_CERTIFICATE_FILE": kafka.certificate_file,
        "KAFKA_KEY_FILE": kafka.key_file,
        "SPOOL": config.spool,
        "STATES": "off" if config.states else "",
        "HARDWARE": "off" if config.hardware else "",
        "SCRAPE": "off" if config.scrape else "",
    }
    return {
        **environment,
        **{f"{ENVIRONMENT_PREFIX}{name}": value for name, value in settings.items() if value},
    }
