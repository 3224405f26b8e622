"""A connection to the server: reads responses and passes them to its exchange, piece by piece.

It knows nothing about clients and records nothing. At most one exchange uses it at a time; idle ones are in the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from endpoint_analytics.agents.core.peer import peer_closed
from endpoint_analytics.agents.proxy.fields import BadHeadError, HeadLimits
from endpoint_analytics.agents.proxy.forwarding import response_body
from endpoint_analytics.agents.proxy.framing import BadBodyError, BodyFraming, UntilClose
from endpoint_analytics.agents.proxy.head import ResponseHead, find_end, parse_response

SWITCHED = 101
HIGH_WATER_BYTES = 65_536
RESPONSE_LIMITS = HeadLimits(head_bytes=262_144, fields=1_000)
"""Higher than a request's: the server is trusted, and the limit only bounds memory."""


class Answering(Protocol):
    """Receives the response from an upstream connection; the exchange implements it."""

    method: bytes

    def informed(self, head: ResponseHead) -> None:
        """An interim response (1xx)."""

    def responded(self, head: ResponseHead, piece: bytes, *, ends_by_close: bool) -> None:
        """The response head and the first piece of its body; `ends_by_close`: the body ends with the connection."""

    def received(self, piece: bytes) -> None:
        """More of the body, or of a tunnel."""

    def completed(self, *, reusable: bool) -> None:
        """The response's last byte was passed on."""

    def lost(self, reason: str) -> None:
        """The connection was lost, or its data became invalid, before the end of the response."""

    def blocked(self, *, is_blocked: bool) -> None:
        """The server reads more slowly than the client sends, or has caught up."""


class UpstreamConnection(asyncio.Protocol):
    """`exchange` is set while the connection is in use; `is_fresh` is True until its first response."""

    __slots__ = (
        "_body",
        "_buffer",
        "_closes",
        "_descriptor",
        "_in_body",
        "_on_idle_lost",
        "exchange",
        "has_received",
        "idle_since_s",
        "is_fresh",
        "is_tunnel",
        "transport",
    )

    def __init__(self, on_idle_lost: Callable[[UpstreamConnection], None]) -> None:
        self._on_idle_lost = on_idle_lost
        self.exchange: Answering | None = None
        self.transport: asyncio.Transport
        self.is_fresh = True
        self.is_tunnel = False
        self.has_received = False
        self.idle_since_s = 0.0
        self._buffer = b""
        self._in_body = False
        self._closes = False
        self._body: BodyFraming | None = None
        self._descriptor = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        socket = transport.get_extra_info("socket")
        self._descriptor = -1 if socket is None else socket.fileno()

    def use(self, exchange: Answering) -> None:
        """Pass the next response to `exchange`."""
        self.exchange = exchange
        self.has_received = False

    def is_usable(self) -> bool:
        """Return whether the server has not closed it, even if unread data remains."""
        return not self.transport.is_closing() and not peer_closed(self._descriptor)

    def data_received(self, data: bytes) -> None:
        """Handle data from the server."""
        exchange = self.exchange
        if exchange is None:  # unsolicited data
            self.transport.abort()
        elif self._in_body:
            self._read_body(exchange, data)
        elif self.is_tunnel:
            exchange.received(data)
        else:
            self.has_received = True
            self._buffer = self._buffer + data if self._buffer else data
            self._read_heads(exchange)

    def _read_heads(self, exchange: Answering) -> None:
        while self._buffer:
            try:
                end = find_end(self._buffer, RESPONSE_LIMITS)
                if not end:
                    return
                head = parse_response(self._buffer[:end], RESPONSE_LIMITS)
                data, self._buffer = self._buffer[end:], b""
                if head.status == SWITCHED:
                    self.is_tunnel = True
                    exchange.informed(head)
                    if data and self.exchange is not None:
                        exchange.received(data)
                    return
                if head.status >= 200:
                    self._begin_body(exchange, head, data)
                    return
            except BadHeadError as error:
                self._give_up(f"invalid response from the server: {error.reason}")
                return
            self._buffer = data
            exchange.informed(head)
            if self.exchange is None:
                return

    def _begin_body(self, exchange: Answering, head: ResponseHead, data: bytes) -> None:
        body = self._body = response_body(head, exchange.method)
        try:
            taken = body.feed(data) if body is not None and data else 0
        except BadBodyError as error:
            self._give_up(f"invalid response from the server: {error}")
            return
        self._closes = head.wants_close or taken != len(data)
        self._in_body = True
        self.is_fresh = False
        exchange.responded(head, data[:taken], ends_by_close=isinstance(body, UntilClose))
        if body is None or body.is_done:
            self._complete(reusable=not self._closes)

    def _read_body(self, exchange: Answering, data: bytes) -> None:
        body = self._body
        if body is None:
            return
        try:
            taken = body.feed(data)
        except BadBodyError as error:
            self._give_up(f"invalid response from the server: {error}")
            return
        exchange.received(data if taken == len(data) else data[:taken])
        if body.is_done:
            self._complete(reusable=taken == len(data) and not self._closes)

    def _complete(self, *, reusable: bool) -> None:
        exchange, self.exchange = self.exchange, None
        self._in_body, self._body = False, None
        if exchange is not None:
            exchange.completed(reusable=reusable and not self.transport.is_closing())

    def _give_up(self, reason: str) -> None:
        exchange, self.exchange = self.exchange, None
        self.transport.abort()
        if exchange is not None:
            exchange.lost(reason)

    def read(self, *, is_wanted: bool) -> None:
        """Resume reading, or pause it because the client reads slowly."""
        if not self.transport.is_closing():
            if is_wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def abandon(self) -> None:
        """Close at once, whatever is in flight: the client is gone."""
        self.exchange = None
        self.transport.abort()

    def eof_received(self) -> bool:
        """The server stops sending: it will not read the rest of the request either."""
        self.transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed the connection, or it broke."""
        if self.exchange is None:
            self._on_idle_lost(self)
        elif exc is None and (self.is_tunnel or isinstance(self._body, UntilClose)):
            self._complete(reusable=False)
        else:
            self._give_up(
                "the server closed the connection"
                if exc is None
                else f"the connection to the server broke: {exc}"
            )

    def pause_writing(self) -> None:
        """The server reads slowly."""
        if self.exchange is not None:
            self.exchange.blocked(is_blocked=True)

    def resume_writing(self) -> None:
        """The server continues to read."""
        if self.exchange is not None:
            self.exchange.blocked(is_blocked=False)
