"""`endpoint-analytics agent proxy`: a proxy that runs until a signal. Only arguments and signals belong here."""

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
from endpoint_analytics.agents.proxy.fields import HeadLimits
from endpoint_analytics.agents.proxy.forwarding import Forwarded
from endpoint_analytics.agents.proxy.server import ProxyServer
from endpoint_analytics.agents.proxy.settings import (
    ProxySettings,
    cannot_listen,
    parse_listen,
    parse_upstream,
)
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.schemas.identity import UNASSIGNED

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# option -> (setting, help)
_TIMES = {
    "--response-timeout": (
        "response_timeout_s",
        "time for the server to start its response, else 504; also the limit between two bytes of it",
    ),
    "--connect-timeout": ("connect_timeout_s", "time for the server to accept a connection, else 502"),
    "--head-timeout": ("head_timeout_s", "time for a client to send a request's head, else 408"),
    "--body-timeout": ("body_timeout_s", "time between two bytes of a request's body, else 408"),
    "--idle-timeout": ("idle_timeout_s", "time that a client's connection may be idle"),
    "--upstream-idle": (
        "upstream_idle_s",
        "time to keep an idle connection to the server; set it below the server's own limit",
    ),
    "--drain": ("drain_s", "time for requests to finish after SIGTERM"),
    "--hold": ("hold_s", "time to hold a request while the server refuses connections"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the proxy's options and the agent's."""
    parser.add_argument(
        "--to", required=True, metavar="URL", help="the server: http://HOST:PORT or https://HOST:PORT"
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1:8080",
        metavar="HOST:PORT",
        help="address to listen on; port 0 picks a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--forwarded",
        choices=get_args(Forwarded),
        default="append",
        help="X-Forwarded-For, -Proto, -Host: append to the client's, replace them, or pass them on unchanged "
        "(default: %(default)s)",
    )
    for option, (setting, text) in _TIMES.items():
        default = ProxySettings.__dataclass_fields__[setting].default
        parser.add_argument(
            option,
            type=float,
            default=default,
            dest=setting,
            metavar="SECONDS",
            help=f"{text} (default: {default:g})",
        )
    parser.add_argument(
        "--max-head-bytes",
        type=int,
        default=HeadLimits().head_bytes,
        metavar="BYTES",
        help="largest request head (default: %(default)s)",
    )
    parser.add_argument(
        "--max-header-lines",
        type=int,
        default=HeadLimits().fields,
        metavar="N",
        help="maximum number of header lines in a request (default: %(default)s)",
    )
    add_exclude_option(parser)
    add_agent_options(parser)
    add_scrape_options(parser)


def settings_of(arguments: argparse.Namespace) -> ProxySettings:
    """Return the settings from the options; raises ConfigurationError."""
    host, port = parse_listen(arguments.listen)
    return ProxySettings(
        upstream=parse_upstream(arguments.to),
        host=host,
        port=port,
        forwarded=arguments.forwarded,
        limits=HeadLimits(arguments.max_head_bytes, arguments.max_header_lines),
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
    stopping = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    try:
        port = await proxy.start()
    except OSError as error:
        reason = cannot_listen(settings.host, settings.port, error)
        print(f"endpoint-analytics agent proxy: {reason}", file=sys.stderr)
        return 1
    for one in agents:
        one.start()
    print(f"proxy ready http://{settings.host}:{port} to {settings.upstream}", flush=True)
    await stopping.wait()
    for number in SIGNALS:  # a second signal ends the process at once
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    await proxy.stop()
    await asyncio.gather(*(loop.run_in_executor(None, one.stop) for one in agents))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop factory if uvloop is installed: the extra `proxy` installs it."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ModuleNotFoundError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _raise_descriptor_limit() -> None:
    """Raise the limit: a request takes two descriptors, and the usual 1,024 would run out first."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
