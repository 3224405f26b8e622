"""The server's lifecycle: opens the ClickHouse engine, serves, announces that it is ready, and stops.

Imperative shell. It stops on SIGTERM, on SIGINT and, if requested, when its standard input is closed, which
happens when its parent is gone for any reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from endpoint_analytics.infra.local.clickhouse.application import Application
from endpoint_analytics.infra.local.clickhouse.confine import hide_memory
from endpoint_analytics.infra.local.clickhouse.engine import ClickHouseEngine
from endpoint_analytics.infra.local.clickhouse.query_pool import QueryPool
from endpoint_analytics.infra.local.clickhouse.start import ServerSettings
from endpoint_analytics.pipeline.serve.http.connections import (
    BACKLOG,
    PATIENCE_S,
    SLACK,
    Connections,
    connection_limit,
)

_log = logging.getLogger(__name__)

_STOP_S = 3.0
_IDLE_CONNECTION_S = 300
_SHUTDOWN_S = 2
_MAX_HEAD_BYTES = 1 << 20  # ClickHouse's http_max_uri_size: the URL may contain a query
_ENGINE_DESCRIPTORS = 256
_SWITCH_S = 0.0005
"""How long a thread that scans a text may hold the interpreter: a request may wait for that several times."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to this module: uvicorn would raise them again after it ends."""
        yield


def serve(
    directory: Path,
    service: ServerSettings,
    listener: socket.socket,
    ready: Callable[[str], None],
    *,
    until_stdin_closes: bool,
) -> None:
    """Serve on a listening socket until stopped. `ready` is called with the URL once the server answers.

    Raises ConnectionLimitError, an OSError, if too few file descriptors are allowed.
    """
    sys.setswitchinterval(_SWITCH_S)
    most = connection_limit(others=_ENGINE_DESCRIPTORS)
    engine = ClickHouseEngine(directory)
    hide_memory()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(engine, service, most, listener, ready, until_stdin_closes=until_stdin_closes))
    finally:
        engine.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    return uvicorn.Config(lambda: None, loop="auto").get_loop_factory()


async def _serve(
    engine: ClickHouseEngine,
    service: ServerSettings,
    most: int,
    listener: socket.socket,
    ready: Callable[[str], None],
    *,
    until_stdin_closes: bool,
) -> None:
    pool = QueryPool(engine)
    stall_s = service.stall_timeout_s
    connections = Connections(
        most,
        time.monotonic,
        patience_s={**PATIENCE_S, "head": stall_s, "answer": stall_s},
    )
    config = uvicorn.Config(
        Application(pool, service),
        http=connections.protocol,  # type: ignore[arg-type]  # called like the protocol class
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections.most + SLACK,
        backlog=BACKLOG,
        timeout_keep_alive=_IDLE_CONNECTION_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_not_aborted_result)
    server = _Server(config)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if until_stdin_closes:

        def read_stdin() -> None:
            if not os.read(0, 1024):
                loop.remove_reader(0)
                stopping.set()

        loop.add_reader(0, read_stdin)
    watching = asyncio.ensure_future(connections.watch())
    serving = asyncio.ensure_future(server.serve([listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    host = f"[{service.host}]" if ":" in service.host else service.host
    ready(f"http://{host}:{listener.getsockname()[1]}")
    waiting = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([waiting, serving], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    # Queries are cancelled while uvicorn waits for their replies; uvicorn itself cancels a stalled upload.
    server.should_exit = True
    await asyncio.gather(serving, pool.stop(_STOP_S))
    if pool.running:
        # Closing the engine could block forever. Everything acknowledged is on disk.
        _log.error("%d queries did not stop within %s s: exiting without them", len(pool.running), _STOP_S)
        logging.shutdown()
        os._exit(1)
    watching.cancel()
    pool.close()


def _is_not_aborted_result(record: logging.LogRecord) -> bool:
    """Filter out uvicorn's error about a result that failed midway, which is left unfinished on purpose."""
    return "without completing response" not in record.getMessage()
