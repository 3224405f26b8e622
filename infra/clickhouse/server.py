"""The server's life: take the folder, open the engine, listen, say so, and stop when told to.

Imperative shell. It stops at SIGTERM, at SIGINT, and, when asked to, at the end of its standard input,
which comes when its parent is gone however it went.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from endpoint_analytics.infra.clickhouse.application import Application
from endpoint_analytics.infra.clickhouse.engine import Engine
from endpoint_analytics.infra.clickhouse.lock import FolderLock
from endpoint_analytics.infra.clickhouse.workshop import Workshop

_log = logging.getLogger(__name__)

_STOP_S = 3.0
_IDLE_CONNECTION_S = 300
_SHUTDOWN_S = 2
_DESCRIPTORS = 65536


class UnsafeBindError(Exception):
    """Listening beyond this machine without a password."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, and who may ask."""

    host: str
    port: int
    user: str = "default"
    password: str = field(default="", repr=False)

    def check(self) -> None:
        """Raises UnsafeBindError for an address beyond loopback without a password."""
        if not self.password and not is_loopback(self.host):
            raise UnsafeBindError(
                f"refusing to listen on {self.host} without a password: "
                "set ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD, or listen on 127.0.0.1"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to us: uvicorn would raise them again after its end."""
        yield


def serve(folder: Path, address: Address, ready: Callable[[str], None], *, until_stdin_closes: bool) -> None:
    """Serve until stopped. `ready` is called with the URL once the server answers.

    Raises UnsafeBindError, FolderHeldError, and OSError when the address cannot be had.
    """
    address.check()
    _raise_descriptor_limit()
    lock = FolderLock(folder)
    lock.acquire()
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address.host, address.port))
            listener.listen(512)
            engine = Engine(folder)
            try:
                with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                    runner.run(
                        _serve(engine, address, listener, ready, until_stdin_closes=until_stdin_closes)
                    )
            finally:
                engine.close()
    finally:
        lock.release()


def _raise_descriptor_limit() -> None:
    """Tables are many files, and the engine keeps some open for each thread."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    return uvicorn.Config(lambda: None, loop="auto").get_loop_factory()


async def _serve(
    engine: Engine,
    address: Address,
    listener: socket.socket,
    ready: Callable[[str], None],
    *,
    until_stdin_closes: bool,
) -> None:
    workshop = Workshop(engine)
    config = uvicorn.Config(
        Application(workshop, address.user, address.password),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_CONNECTION_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_no_broken_off_result)
    server = _Server(config)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    if until_stdin_closes:

        def read_stdin() -> None:
            if not os.read(0, 1024):
                loop.remove_reader(0)
                told.set()

        loop.add_reader(0, read_stdin)
    serving = asyncio.ensure_future(server.serve([listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    host = f"[{address.host}]" if ":" in address.host else address.host
    ready(f"http://{host}:{listener.getsockname()[1]}")
    waiting = asyncio.ensure_future(told.wait())
    await asyncio.wait([waiting, serving], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    # Queries are cancelled while uvicorn waits for their replies; an upload that stands still, it cancels.
    server.should_exit = True
    await asyncio.gather(serving, workshop.stop(_STOP_S))
    if workshop.running:
        # The engine would be waited for without end. What was acknowledged is on the disk.
        _log.error(
            "%d queries did not stop within %s s: leaving without them", len(workshop.running), _STOP_S
        )
        logging.shutdown()
        os._exit(1)
    workshop.close()


def _is_no_broken_off_result(record: logging.LogRecord) -> bool:
    """A result that failed midway is left unfinished on purpose; uvicorn logs that as an error."""
    return "without completing response" not in record.getMessage()
