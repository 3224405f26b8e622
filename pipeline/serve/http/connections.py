"""The bound on connections, and on how long a client may keep one waiting.

uvicorn has no timeout for a request's head, none for a client that does not read its answer, and refuses everybody once
there are too many connections: some hundred clients that send half a head would take the service from all others. So
each connection is in one of the phases below, and when there are too many, those go that wait for their clients, the
longest first. A connection for which the service works is never closed.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import resource
import ssl
import sys
import termios
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from endpoint_analytics.pipeline.serve.http.heads import HeadBuffer, HeadError

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 512
LEAST_CONNECTIONS = 32
BACKLOG = 64
"""Connections that may be accepted at one go."""
SLACK = BACKLOG
"""Connections beyond the bound that are answered with 503, when the service works for all others."""
OTHER_DESCRIPTORS = 96
"""For ClickHouse, logs, files, and what Python itself holds."""
HEAD_WITHIN_S = 10.0
SWEEP_EVERY_S = 1.0
TOLD_EVERY_S = 600.0
"""How often the log says how many were closed meanwhile."""
CLOSED_AT_ONCE = 16
"""Connections that make room together: the search costs more than the closing."""

Phase = Literal["head", "body", "idle", "answer", "closing", "work"]
CLOSABLE: tuple[Phase, ...] = ("head", "body", "idle", "answer", "closing")
PATIENCE_S: dict[Phase, float] = {"head": HEAD_WITHIN_S, "answer": 20.0, "closing": 5.0}
"""How long a phase may last: TLS handshake and head; an answer of which nothing is read; the end of a closed one.
uvicorn ends idle connections; who reads a body, and work, have timeouts of their own."""


def _refusal(status: str, words: str) -> bytes:
    """An answer that ends the connection."""
    return (
        f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(words)}\r\n\r\n{words}"
    ).encode("ascii")


_TOO_SLOW = _refusal("408 Request Timeout", "the request's head did not come")
_TOO_LARGE = 431


class ConnectionLimitError(OSError):
    """The process may open too few descriptors; the text says how to allow more."""


def connection_limit(most: int = MAX_CONNECTIONS, others: int = OTHER_DESCRIPTORS) -> int:
    """Return how many connections the descriptors are good for, at most `most`, raising the soft limit where it can.

    `others` are left for all else. Raises ConnectionLimitError where hardly any would be left.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = most + SLACK + BACKLOG + others
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return most
    left = soft - SLACK - BACKLOG - others
    if left < LEAST_CONNECTIONS:
        raise ConnectionLimitError(
            f"this process may open {soft} descriptors, and {soft - left + LEAST_CONNECTIONS} are "
            "needed: allow more with `ulimit -n` or LimitNOFILE="
        )
    return left


@dataclass(slots=True)
class _Seen:
    """What the last sweep saw of a connection, and since when it is so."""

    phase: Phase
    since_s: float
    unsent: int = 0
    received: int = 0
    request: object = None


class Connections:
    """All connections of one service, on one event loop, at `most` so many; `closed` counts those ended, by phase."""

    def __init__(
        self,
        most: int,
        clock: Callable[[], float],
        ssl_context: ssl.SSLContext | None = None,
        patience_s: Mapping[Phase, float] = PATIENCE_S,
    ) -> None:
        self.closed: Counter[Phase] = Counter()
        self.most = most
        self._clock = clock
        self._patience_s = patience_s
        self.ssl_context = ssl_context
        self._seen: dict[_Handshake | _Http, _Seen] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def protocol(self, **arguments: Any) -> asyncio.Protocol:
        """Return the protocol of a new connection; uvicorn's factory."""
        http = _Http(self, **arguments)
        return http if self.ssl_context is None else _Handshake(self, http, self.ssl_context)

    async def watch(self) -> None:
        """Sweep for ever: a sweep that fails is told once, and the next one comes. Says what was closed."""
        works, told, told_at_s = True, 0, self._clock()
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                self.sweep()
            except Exception:
                if works:
                    log.exception("connections cannot be looked through, and are not bounded; it is tried on")
                works = False
            else:
                works = True
            if self.closed.total() > told and self._clock() - told_at_s >= TOLD_EVERY_S:
                log.warning(
                    "connections closed since the start, by what was waited for: %s", dict(self.closed)
                )
                told, told_at_s = self.closed.total(), self._clock()

    def sweep(self) -> None:
        """End each connection whose client has not done its part in time."""
        now_s = self._clock()
        for connection, seen in list(self._seen.items()):
            self._look(connection, seen, now_s)
            if now_s - seen.since_s >= self._patience_s.get(seen.phase, math.inf):
                self._close(connection, seen.phase)

    def enter(self, connection: _Handshake | _Http) -> None:
        """Take up a new connection; makes room where there is none."""
        self._seen[connection] = _Seen("head", self._clock())
        if len(self._seen) > self.most:
            self._make_room(connection)

    def leave(self, connection: _Handshake | _Http) -> None:
        """Forget a connection that is lost."""
        self._seen.pop(connection, None)

    def _make_room(self, newest: _Handshake | _Http) -> None:
        now_s = self._clock()
        for connection, seen in self._seen.items():
            self._look(connection, seen, now_s)
        waiting = [
            (seen.phase == "idle", seen.since_s, seen.received, connection)
            for connection, seen in self._seen.items()
            if seen.phase != "work" and connection is not newest
        ]
        # Scrapers keep idle connections: these go last. Of bodies that all come on, those go that brought the least.
        waiting.sort(key=lambda each: each[:3])
        for *_, connection in waiting[:CLOSED_AT_ONCE]:
            self._close(connection, self._seen[connection].phase)

    def _look(self, connection: _Handshake | _Http, seen: _Seen, now_s: float) -> None:
        phase, unsent, received = connection.phase(), connection.unsent(), connection.received
        request = connection.request()
        is_further = phase != seen.phase or request is not seen.request
        if (
            is_further
            or (phase == "answer" and unsent < seen.unsent)
            or (phase == "body" and received > seen.received)
        ):
            seen.since_s = now_s
        seen.phase, seen.unsent, seen.received, seen.request = phase, unsent, received, request

    def _close(self, connection: _Handshake | _Http, phase: Phase) -> None:
        if not self.closed:
            log.warning(
                "a connection is closed since its client keeps it waiting (%s); others are counted", phase
            )
        self.closed[phase] += 1
        self._seen.pop(connection, None)
        connection.end()


class _Http(H11Protocol):
    """uvicorn's protocol, with a phase. `transport` is None until it is connected."""

    def __init__(self, connections: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._all = connections
        self._unparsed = self.conn._receive_buffer = HeadBuffer()  # noqa: SLF001 - h11 has no other way
        self.received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take up the connection."""
        super().connection_made(transport)
        self._all.enter(self)

    def data_received(self, data: bytes) -> None:
        """Count what comes."""
        self.received += len(data)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._all.leave(self)
        super().connection_lost(exc)

    def phase(self) -> Phase:
        """Return what the connection waits for."""
        if self.unsent():
            return "answer"  # of a closed connection too: its end is part of the answer
        if self.transport.is_closing():
            return "closing"
        if self.cycle is not None and not self.cycle.response_complete:
            waits = self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused
            return "body" if waits else "work"
        between = self.cycle is not None and self.conn.their_state is h11.IDLE
        return "idle" if between and not self._unparsed else "head"

    def request(self) -> object:
        """Return the last request: another one is progress."""
        return self.cycle

    def unsent(self) -> int:
        """Return how much of an answer the client has not taken; 0 when the kernel has it all.

        What the kernel holds counts beside, since it takes more from us in pieces of megabytes.
        """
        waiting: int = self.transport.get_write_buffer_size()
        return waiting + _in_kernel(self.transport) if waiting else 0

    def send_400_response(self, msg: str) -> None:
        """Refuse a head. uvicorn would say of one that is too large as little as of one that is no HTTP."""
        error = sys.exception()
        begun = self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE)
        if begun or not isinstance(error, h11.RemoteProtocolError) or error.error_status_hint != _TOO_LARGE:
            super().send_400_response(msg)
            return
        words = str(error) if isinstance(error, HeadError) else "the request's head is too large"
        self.transport.write(_refusal("431 Request Header Fields Too Large", words))
        self.transport.close()

    def end(self) -> None:
        """End the connection at once, saying why where a head was begun."""
        if self.phase() == "head" and self._unparsed:
            self.transport.write(_TOO_SLOW)
            self.transport.close()
            if self.unsent():
                self.transport.abort()
        else:
            self.transport.abort()


def _in_kernel(transport: asyncio.Transport) -> int:
    """What the peer has not acknowledged; 0 where the system does not tell."""
    with suppress(OSError, ValueError, AttributeError):
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(answer, sys.byteorder)
    return 0


class _Handshake(asyncio.Protocol):
    """A connection until its TLS handshake is done; then HTTP takes its place.

    asyncio would keep it out of sight until then, and for a minute.
    """

    def __init__(self, connections: Connections, http: _Http, ssl_context: ssl.SSLContext) -> None:
        self._all = connections
        self._http = http
        self._ssl_context = ssl_context
        self._early: list[bytes] = []
        self.received = 0
        self._transport: asyncio.Transport
        self._securing: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the types
        self._transport = transport
        self._all.enter(self)
        self._securing = asyncio.get_running_loop().create_task(self._secure())

    def data_received(self, data: bytes) -> None:
        """Keep what is decrypted before HTTP has taken over."""
        self._early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's own
        """Forget the connection."""
        self._all.leave(self)

    async def _secure(self) -> None:
        try:
            secured = await asyncio.get_running_loop().start_tls(
                self._transport,
                self,
                self._ssl_context,
                server_side=True,
                ssl_handshake_timeout=HEAD_WITHIN_S,
            )
        except (OSError, asyncio.CancelledError):  # the client went, spoke no TLS, or was too slow
            self._all.leave(self)
            self._transport.abort()
            return
        self._all.leave(self)
        if secured is None or secured.is_closing():
            return
        secured.set_protocol(self._http)
        self._http.connection_made(secured)
        for data in self._early:
            self._http.data_received(data)

    def phase(self) -> Phase:
        """Return what the connection waits for."""
        return "head"

    def request(self) -> object:
        """Return none."""
        return None

    def unsent(self) -> int:
        """Return nothing: no answer was begun."""
        return 0

    def end(self) -> None:
        """End the connection at once."""
        self._transport.abort()
