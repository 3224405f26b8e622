"""`endpoint-analytics serve`: the query service as a process. Only flags, the socket and shutdown belong here."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import uvicorn

from endpoint_analytics.pipeline.serve.access.token_cache import TokenCache
from endpoint_analytics.pipeline.serve.api.rollup_loop import roll_forever
from endpoint_analytics.pipeline.serve.api.wiring import make_api
from endpoint_analytics.pipeline.serve.application import Service
from endpoint_analytics.pipeline.serve.health import Health
from endpoint_analytics.pipeline.serve.http.connections import (
    BACKLOG,
    SLACK,
    ConnectionLimitError,
    Connections,
    connection_limit,
)
from endpoint_analytics.pipeline.serve.http.tls import add_tls_arguments, exposure, make_server_context, renew
from endpoint_analytics.pipeline.serve.routes import MAX_HEAD_BYTES, application
from endpoint_analytics.pipeline.serve.scrape.read_ahead import ReadAhead
from endpoint_analytics.pipeline.serve.scrape.scrapes import Scrapes
from endpoint_analytics.pipeline.serve.scrape.self_metrics import SelfMetrics
from endpoint_analytics.pipeline.store.database import Database
from endpoint_analytics.pipeline.store.endpoint_metrics import MetricsSettings
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.rollup import cached_progress
from endpoint_analytics.schemas.configuration.clickhouse_config import (
    ClickHouseConfig,
    add_clickhouse_options,
    clickhouse_of,
)
from endpoint_analytics.schemas.configuration.settings import ConfigurationError, number_option, port_option
from endpoint_analytics.schemas.metrics import HEARTBEAT_TIMEOUT_S
from endpoint_analytics.schemas.migrations import read_migrations

KEEP_ALIVE_S = 75
"""Longer than common scrape intervals, so that scrapers keep their connections."""
STOP_WITHIN_S = 8
"""Longer than a slow answer takes, which would otherwise be cut off; without any, stopping takes no time."""
LEAST_QUANTILE_WINDOW_S = 30
"""Two windows of 10 s, and the time until they are stored: a shorter range would often be empty under traffic."""
LONGEST_CACHE_S = 60
"""An answer describes the present: by then, a silent replica must be shown as such."""

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's flags."""
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    parser.add_argument(
        "--port",
        type=port_option,
        default=8080,
        metavar="PORT",
        help="port to listen on; 0 picks a free one (default: 8080)",
    )
    parser.add_argument(
        "--quantile-window",
        type=number_option(LEAST_QUANTILE_WINDOW_S, 86_400),
        default=300,
        metavar="SECONDS",
        help=f"time range that quantiles cover, at least {LEAST_QUANTILE_WINDOW_S} (default: 300)",
    )
    parser.add_argument(
        "--replica-grace",
        type=number_option(HEARTBEAT_TIMEOUT_S, 86_400),
        default=300,
        metavar="SECONDS",
        help=f"how long the series of a departed replica are kept, at least {HEARTBEAT_TIMEOUT_S} (default: 300)",
    )
    parser.add_argument(
        "--cache",
        type=number_option(0, LONGEST_CACHE_S),
        default=0.3,
        metavar="SECONDS",
        help=f"how long an answer is served from the cache, at most {LONGEST_CACHE_S} (default: 0.3)",
    )
    parser.add_argument(
        "--cache-entries",
        type=int,
        default=1000,
        metavar="N",
        help="maximum number of endpoints in the cache (default: 1000)",
    )
    parser.add_argument(
        "--rollup-every",
        type=number_option(0, 86_400),
        default=15,
        metavar="SECONDS",
        help="how often to roll up windows into minutes and hours; 0 disables it (default: 15)",
    )
    add_tls_arguments(parser)
    add_clickhouse_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Returns 1 if it cannot listen or a setting is invalid."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)  # we report these failures ourselves
    try:
        config = clickhouse_of(arguments)
        ssl_context = make_server_context(arguments.tls_certificate, arguments.tls_key)
        most = connection_limit()
        listener = _listen(arguments.host, arguments.port)
    except (ConfigurationError, ConnectionLimitError, OSError) as error:
        sys.stderr.write(f"endpoint-analytics serve: {error}\n")
        return 1
    with listener:
        connections = Connections(most, time.monotonic, ssl_context)
        asyncio.run(_serve(arguments, config, connections, listener))
    return 0


def _listen(host: str, port: int) -> socket.socket:
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise OSError(f"cannot listen on {host}:{port} ({error}): choose another --host or --port") from error
    return listener


class _Announcing(uvicorn.Server):
    """Prints the address on stdout once the server is listening."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(f"serve ready {self._address}\n")
            sys.stdout.flush()


async def _serve(
    arguments: argparse.Namespace, config: ClickHouseConfig, connections: Connections, listener: socket.socket
) -> None:
    database = Database(config)
    metrics = SelfMetrics(connections.closed, database.counts)
    settings = MetricsSettings(
        timedelta(seconds=arguments.quantile_window), Presence(timedelta(seconds=arguments.replica_grace))
    )
    progress = cached_progress(database, time.monotonic)
    scrapes = ReadAhead(
        Scrapes(
            database,
            settings,
            progress,
            keep_s=arguments.cache,
            entries=max(1, arguments.cache_entries),
            now=lambda: datetime.now(UTC),
            clock=time.monotonic,
        ),
        time.monotonic,
    )

    async def close() -> None:
        await scrapes.close()
        await database.close()

    tokens = TokenCache(database, time.monotonic)
    api = make_api(database, tokens, progress, settings.presence, arguments.cache)
    every_s = arguments.rollup_every
    service = Service(
        scrapes,
        tokens,
        Health(database, read_migrations(), time.monotonic),
        metrics,
        time.monotonic,
    )
    # Rows and samples live for one answer and have no cycles: with the defaults, looking for some takes a third of the
    # time of a scrape of thousands of replicas.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    host, port = listener.getsockname()[:2]
    scheme = "http" if arguments.tls_certificate is None else "https"
    address = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    if scheme == "http" and (warning := exposure(host)):
        log.warning("%s", warning)
    background: list[Callable[[], Coroutine[Any, Any, None]]] = [connections.watch]
    if every_s:
        background.append(lambda: roll_forever(config, every_s))
    if (context := connections.ssl_context) is not None:
        background.append(lambda: renew(context, arguments.tls_certificate, arguments.tls_key))
    server = _Announcing(
        uvicorn.Config(
            application(
                service,
                api,
                while_serving=background,
                on_stop=close,
            ),
            # h11 limits how much of an unfinished head it buffers; httptools does not.
            http=connections.protocol,  # type: ignore[arg-type]  # called like the class
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,  # a query string may contain anything, including secrets
            server_header=False,
            proxy_headers=False,
            limit_concurrency=connections.most + SLACK,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_WITHIN_S,
        ),
        address,
    )

    def stop(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn handles these signals while it serves and raises them again at the end: they must not kill us then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    await server.serve(sockets=[listener])
