"""`endpoint-analytics agent proxy`: a proxy that runs until told to end. Only arguments and signals belong here."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

from endpoint_analytics.agents.command.agent_options import (
    add_agent_options,
    add_exclude_option,
    add_scrape_options,
    agent_config_of,
    log_to_stderr,
)
from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.proxy.fields import Limits
from endpoint_analytics.agents.proxy.forwarding import Forwarded
from endpoint_analytics.agents.proxy.server import ProxyServer
from endpoint_analytics.agents.proxy.settings import ProxySettings, parse_listen, parse_upstream
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.schemas.identity import UNASSIGNED

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# option -> (setting, what it says)
_TIMES = {
    "--response-timeout": (
        "response_timeout_s",
        "seconds until the server's answer begins, then 504; and without a byte of it",
    ),
    "--connect-timeout": ("connect_timeout_s", "seconds until the server takes a connection, then 502"),
    "--head-timeout": ("head_timeout_s", "seconds for a client to send a request's head, then 408"),
    "--body-timeout": ("body_timeout_s", "seconds without a byte of a request's body, then 408"),
    "--idle-timeout": ("idle_timeout_s", "seconds that a client's connection may be idle"),
    "--upstream-idle": (
        "upstream_idle_s",
        "seconds that a connection to the server is kept; less than it does",
    ),
    "--drain": ("drain_s", "seconds that requests have to end after SIGTERM"),
    "--hold": ("hold_s", "seconds that a request waits while the server refuses connections"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the proxy's options and the agent's."""
    parser.add_argument("--to", required=True, metavar="URL", help="the server: http://host:port or https://")
    parser.add_argument(
        "--listen", default="127.0.0.1:8080", metavar="HOST:PORT", help="(%(default)s; port 0: a free one)"
    )
    parser.add_argument(
        "--forwarded",
        choices=get_args(Forwarded),
        default="append",
        help="X-Forwarded-For, -Proto, -Host: add to those that came, set anew, or keep as they came (append)",
    )
    for option, (setting, text) in _TIMES.items():
        default = ProxySettings.__dataclass_fields__[setting].default
        parser.add_argument(
            option, type=float, default=default, dest=setting, metavar="S", help=f"{text} ({default:g})"
        )
    parser.add_argument(
        "--max-head-bytes",
        type=int,
        default=Limits().head_bytes,
        metavar="N",
        help="of a request (%(default)s)",
    )
    parser.add_argument(
        "--max-header-lines",
        type=int,
        default=Limits().fields,
        metavar="N",
        help="of a request (%(default)s)",
    )
    add_exclude_option(parser)
    add_agent_options(parser)
    add_scrape_options(parser)


def settings_of(arguments: argparse.Namespace) -> ProxySettings:
    """Return what the options say; raises ConfigurationError."""
    host, port = parse_listen(arguments.listen)
    return ProxySettings(
        upstream=parse_upstream(arguments.to),
        host=host,
        port=port,
        forwarded=arguments.forwarded,
        limits=Limits(arguments.max_head_bytes, arguments.max_header_lines),
        **{setting: getattr(arguments, setting) for setting, _ in _TIMES.values()},
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the proxy; prints `proxy ready http://HOST:PORT` once it listens. Returns the exit status."""
    try:
        config, settings = agent_config_of(arguments), settings_of(arguments)
        agent = Agent(config)
    except ConfigurationError as error:
        print(f"endpoint-analytics agent proxy: {error}", file=sys.stderr)
        return 2
    log_to_stderr()
    _raise_descriptor_limit()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(agent, settings))


async def _serve(agent: Agent, settings: ProxySettings) -> int:
    unassigned = replace(agent.config, replica_id=UNASSIGNED, hardware=False, scrape="")
    held = Agent(unassigned) if settings.hold_s else None
    agents = [agent, held] if held is not None else [agent]
    proxy = ProxyServer(settings, agent, held)
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, told.set)
    try:
        port = await proxy.start()
    except OSError as error:
        print(f"endpoint-analytics agent proxy: cannot listen at {settings.host}: {error}", file=sys.stderr)
        return 1
    for one in agents:
        one.start()
    print(f"proxy ready http://{settings.host}:{port} to {settings.upstream}", flush=True)
    await told.wait()
    for number in SIGNALS:  # a second signal ends the process at once
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    await proxy.stop()
    await asyncio.gather(*(loop.run_in_executor(None, one.stop) for one in agents))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed: the extra `proxy` brings it."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ModuleNotFoundError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _raise_descriptor_limit() -> None:
    """Two descriptors a request: the usual 1,024 would be the first thing to run out."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
