"""Listens for a receiver, within limits that need no token: of connections, and of time for a request's head."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from endpoint_analytics.agents.otlp.receiver import Receiver

MAX_CONNECTIONS = 1_000
HEAD_WITHIN_S = 10.0
KEEP_ALIVE_S = 75.0
STOP_WITHIN_S = 5.0


@asynccontextmanager
async def listening(
    receiver: Receiver, host: str, port: int, ssl_context: ssl.SSLContext | None
) -> AsyncIterator[int]:
    """Serve while entered; returns the port. Raises OSError if the address is not available."""
    application = receiver.application()
    silent = _SilentConnections()

    @web.middleware
    async def hear(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        silent.hear(request.protocol)
        return await handler(request)

    application.middlewares.append(hear)
    runner = web.AppRunner(
        application,
        access_log=None,
        auto_decompress=False,
        handler_cancellation=True,
        keepalive_timeout=KEEP_ALIVE_S,
        shutdown_timeout=STOP_WITHIN_S,
    )
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError("setup() makes the server")

    def connect() -> asyncio.Protocol:
        if len(server.connections) >= MAX_CONNECTIONS:
            return _Refused()
        connection = server()
        silent.watch(connection)
        return connection

    try:
        listener = await asyncio.get_running_loop().create_server(connect, host, port, ssl=ssl_context)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
    finally:
        await runner.cleanup()


class _Refused(asyncio.Protocol):
    """A connection beyond the limit: it is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _SilentConnections:
    """Closes connections that bring no whole head of a request in time; aiohttp does so only after their first."""

    def __init__(self) -> None:
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def watch(self, connection: web.RequestHandler) -> None:
        """Give the connection its time."""
        timer = asyncio.get_running_loop().call_later(HEAD_WITHIN_S, self._close, connection)
        self._timers[id(connection)] = timer  # which keeps the connection, and so its id

    def hear(self, connection: web.RequestHandler) -> None:
        """The connection has brought a request."""
        if (timer := self._timers.pop(id(connection), None)) is not None:
            timer.cancel()

    def _close(self, connection: web.RequestHandler) -> None:
        del self._timers[id(connection)]
        if connection.transport is not None:
            connection.transport.abort()
