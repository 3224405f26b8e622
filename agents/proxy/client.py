"""A client's connection: reads requests one after another, and writes the responses from their exchanges.

It refuses malformed requests, reads no further than necessary, and notices a client that hangs up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from endpoint_analytics.agents.core.peer import peer_closed
from endpoint_analytics.agents.proxy.exchange import ProxyExchange
from endpoint_analytics.agents.proxy.fields import BadHeadError
from endpoint_analytics.agents.proxy.forwarding import refusal_bytes, request_body
from endpoint_analytics.agents.proxy.framing import BadBodyError, BodyFraming
from endpoint_analytics.agents.proxy.head import find_end, parse_request
from endpoint_analytics.agents.proxy.interfaces import BLOCKED, PIPELINED, UNSENT, ProxyContext

HIGH_WATER_BYTES = 65_536
LINGER_BYTES, LINGER_S = 1_048_576, 2.0
"""How much and how long to read and discard from a client that is still sending a body after its response."""


class ClientConnection(asyncio.Protocol):
    """Closed by the client, after its last response, or by `tick` if the client is slow."""

    __slots__ = (
        "_body",
        "_buffer",
        "_context",
        "_descriptor",
        "_has_ended",
        "_is_flushing",
        "_linger_left",
        "_linger_until_s",
        "_on_lost",
        "_paused",
        "_searched",
        "_started_s",
        "address",
        "exchange",
        "transport",
    )

    def __init__(self, context: ProxyContext, open_connections: set[ClientConnection]) -> None:
        self._context = context
        self._on_lost: Callable[[ClientConnection], None] = open_connections.discard
        open_connections.add(self)
        self.transport: asyncio.Transport
        self.address = b"unknown"
        self.exchange: ProxyExchange | None = None
        self._buffer = b""
        self._searched = 0
        self._body: BodyFraming | None = None
        self._paused = 0
        self._started_s = context.loop.time()
        self._has_ended = False
        self._is_flushing = False
        self._linger_left = LINGER_BYTES
        self._linger_until_s = 0.0
        self._descriptor = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.address = str(peer[0]).encode()
        socket = transport.get_extra_info("socket")
        self._descriptor = -1 if socket is None else socket.fileno()

    def data_received(self, data: bytes) -> None:
        """Handle data from the client."""
        exchange = self.exchange
        if self._body is not None or self._linger_until_s:
            self._read_body(exchange, data)
        elif exchange is None:
            if not self._buffer:
                self._started_s = self._context.loop.time()
            self._buffer = self._buffer + data if self._buffer else data
            self._read_head()
        elif exchange.is_tunnel:
            exchange.send(data, is_last=False)
        else:
            self._buffer += data
            if len(self._buffer) > HIGH_WATER_BYTES:
                self.pause(PIPELINED)

    def _read_head(self) -> None:
        if self.exchange is not None or not self._buffer or self.transport.is_closing():
            return
        limits = self._context.settings.limits
        buffer = self._buffer
        try:
            if buffer.startswith(b"\r\n"):  # some clients send one after a body (RFC 9112, section 2.2)
                buffer = self._buffer = buffer[2:]
            end = find_end(buffer, limits, self._searched)
            if not end:
                self._searched = len(buffer)
                return
            head = parse_request(buffer[:end], limits)
            body = request_body(head)
            taken = body.feed(buffer[end:]) if body is not None and len(buffer) > end else 0
        except BadHeadError as error:
            self._refuse_unread(error.status, error.reason)
            return
        except BadBodyError as error:
            self._refuse_unread(400, str(error))
            return
        self._searched = 0
        self._buffer = buffer[end + taken :]
        self._body = body if body is not None and not body.is_done else None
        self.exchange = ProxyExchange(self, head, self._context)
        self.exchange.begin(buffer[end : end + taken], is_last=self._body is None)

    def _read_body(self, exchange: ProxyExchange | None, data: bytes) -> None:
        body = self._body
        if self._linger_until_s or body is None:
            self._linger_left -= len(data)
            if self._linger_left < 0:
                self.transport.close()
            return
        try:
            taken = body.feed(data)
        except BadBodyError as error:
            self._body = None
            if exchange is not None and not exchange.is_over:
                exchange.body_malformed(str(error))
            else:
                self.transport.close()
            return
        if body.is_done:
            self._body = None
            self._buffer = data[taken:]
        if exchange is not None and not exchange.is_over:
            exchange.send(data if taken == len(data) else data[:taken], is_last=body.is_done)
        else:
            self._linger_left -= taken
            if body.is_done and exchange is None:
                self._read_head()
            elif self._linger_left < 0:
                self.transport.close()

    def _refuse_unread(self, status: int, reason: str) -> None:
        """Answer a request that cannot be forwarded; it counts with its status."""
        request = self._context.recorder.arrive()
        self.transport.write(refusal_bytes(status, reason, closes=True))
        request.respond(status)
        request.finish()
        self._linger()

    def refuse(self, status: int, reason: str) -> None:
        """Write the proxy's own response, and finish as after any other."""
        exchange = self.exchange
        if exchange is None:
            return
        is_head = exchange.method == b"HEAD"
        self.transport.write(refusal_bytes(status, reason, closes=exchange.closes, is_head=is_head))
        exchange.request.respond(status)
        self.ended()

    def ended(self) -> None:
        """The complete response was passed to the transport; once it is flushed, the request is finished."""
        if self.transport.get_write_buffer_size():
            self._is_flushing = True
            self.transport.set_write_buffer_limits(high=0)  # to be notified when it is empty
        else:
            self._finish()

    def tunnelled(self) -> None:
        """From now on the client's data belongs to the tunnel, including what it has already sent."""
        early, self._buffer = self._buffer, b""
        if early and self.exchange is not None:
            self.exchange.send(early, is_last=False)
        self.resume(PIPELINED)

    def _finish(self) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        self.resume(BLOCKED | UNSENT | PIPELINED)
        if exchange.is_tunnel:
            self.transport.close()
            return
        exchange.request.finish()
        if exchange.closes or self._has_ended or self._context.is_draining:
            self._linger()
        elif self._body is None:
            self._started_s = self._context.loop.time()
            if self._buffer:
                self._context.loop.call_soon(self._read_head)
        else:
            self._linger_left = LINGER_BYTES
            self._started_s = self._context.loop.time()

    def _linger(self) -> None:
        """Close; but a client that is still sending must be able to read its response first."""
        if self._has_ended or (self._body is None and not self._buffer):
            self.transport.close()
        else:
            self._linger_until_s = self._context.loop.time() + LINGER_S
            self._buffer = b""
            self.transport.write_eof()

    def cut(self, *, resets: bool) -> None:
        """The response ends here, incomplete: with a reset if the client could not tell otherwise."""
        self.exchange = None
        if resets:
            self.transport.abort()
        else:
            self.transport.close()

    def is_gone(self) -> bool:
        """Whether the client has hung up, even if the event loop has not noticed yet."""
        return self.transport.is_closing() or peer_closed(self._descriptor)

    def pause(self, why: int) -> None:
        """Stop reading until every reason is withdrawn."""
        if not self._paused and not self.transport.is_closing():
            self.transport.pause_reading()
        self._paused |= why

    def resume(self, why: int) -> None:
        """Withdraw a reason for pausing."""
        if self._paused:
            self._paused &= ~why
            if not self._paused and not self.transport.is_closing():
                self.transport.resume_reading()

    def pause_writing(self) -> None:
        """The client reads slowly: stop reading from the server."""
        if self.exchange is not None and self.exchange.upstream is not None:
            self.exchange.upstream.read(is_wanted=False)

    def resume_writing(self) -> None:
        """The client continues to read, or has everything."""
        if self._is_flushing:
            self._is_flushing = False
            self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
            self._finish()
        elif self.exchange is not None and self.exchange.upstream is not None:
            self.exchange.upstream.read(is_wanted=True)

    def eof_received(self) -> bool:
        """The client stops sending: it is hanging up, unless its complete response is on the way."""
        self._has_ended = True
        if self.exchange is not None and not self.exchange.is_over:
            self.exchange.client_gone()
            return False
        return self._is_flushing

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """The connection is closed, by either side."""
        self._on_lost(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
            if not exchange.is_tunnel:
                exchange.request.abort()

    def tick(self, now_s: float) -> None:
        """Check timeouts, and clients from which reading is paused."""
        settings = self._context.settings
        exchange = self.exchange
        if exchange is not None:
            exchange.tick(now_s)
            if self._paused and not exchange.is_over and peer_closed(self._descriptor):
                exchange.client_gone()
                self.transport.abort()
        elif self._linger_until_s:
            if now_s > self._linger_until_s:
                self.transport.close()
        elif self._buffer:
            if now_s - self._started_s > settings.head_timeout_s:
                self._refuse_unread(408, f"no complete request head within {settings.head_timeout_s:g} s")
        elif now_s - self._started_s > settings.idle_timeout_s:
            self.transport.close()

    def close_if_idle(self) -> None:
        """Close the connection if it is between two requests."""
        if self.exchange is None and not self._linger_until_s:
            self.transport.close()
