"""The pool of idle connections to the server, which also opens new ones.

The most recently used connection is reused first, so that few stay open. None stays idle longer than servers allow.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque

from endpoint_analytics.agents.proxy.settings import ProxySettings
from endpoint_analytics.agents.proxy.upstream import UpstreamConnection


class Pool:
    """The pool of one upstream. All calls come from the event loop."""

    def __init__(self, settings: ProxySettings, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._idle: deque[UpstreamConnection] = deque()
        self._ssl = ssl.create_default_context() if settings.upstream.is_tls else None

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """Return an idle connection that can be reused; None if there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.transport.abort()
        return None

    def put(self, connection: UpstreamConnection) -> None:
        """Return a connection to the pool for the next request."""
        settings = self._settings
        if settings.upstream_idle_s and len(self._idle) < settings.upstream_idle_connections:
            connection.exchange = None
            connection.idle_since_s = self._loop.time()
            connection.transport.resume_reading()
            self._idle.append(connection)
        else:
            connection.transport.close()

    async def connect(self) -> UpstreamConnection:
        """Open a new connection; raises OSError (including TimeoutError)."""
        upstream = self._settings.upstream
        async with asyncio.timeout(self._settings.connect_timeout_s):
            transport, connection = await self._loop.create_connection(
                lambda: UpstreamConnection(self._forget), upstream.host, upstream.port, ssl=self._ssl
            )
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection

    def close_idle(self, now_s: float) -> None:
        """Close connections that were idle too long."""
        while self._idle and now_s - self._idle[0].idle_since_s > self._settings.upstream_idle_s:
            self._idle.popleft().transport.close()

    def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            self._idle.pop().transport.close()

    def _forget(self, connection: UpstreamConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
