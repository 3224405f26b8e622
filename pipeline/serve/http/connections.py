"""The limit on connections, and on how long a client may keep one waiting.

uvicorn has no timeout for a request's head, none for a client that does not read its response, and refuses everyone
once there are too many connections: a few hundred clients that send half a head would lock out all others. So each
connection is in one of the phases below, and when there are too many, those waiting for their clients are closed, the
longest-waiting first. A connection whose request is being worked on is never closed.
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
"""Connections that may be accepted in one batch."""
SLACK = BACKLOG
"""Connections beyond the limit that get a 503, while the service is working on all others."""
OTHER_DESCRIPTORS = 96
"""File descriptors for ClickHouse, logs, files and Python itself."""
HEAD_WITHIN_S = 10.0
SWEEP_EVERY_S = 1.0
REPORT_EVERY_S = 600.0
"""How often the log reports the number of closed connections."""
CLOSED_AT_ONCE = 16
"""Connections closed together to make room: finding them costs more than closing them."""

Phase = Literal["head", "body", "idle", "answer", "closing", "work"]
CLOSABLE: tuple[Phase, ...] = ("head", "body", "idle", "answer", "closing")
PATIENCE_S: dict[Phase, float] = {"head": HEAD_WITHIN_S, "answer": 20.0, "closing": 5.0}
"""How long a phase may last: TLS handshake and head; a response that the client does not read; closing.
uvicorn ends idle connections; reading a body and work have their own timeouts."""


def _refusal(status: str, words: str) -> bytes:
    """Return a response that ends the connection."""
    return (
        f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(words)}\r\n\r\n{words}"
    ).encode("ascii")


_TOO_SLOW = _refusal("408 Request Timeout", "the request head did not arrive in time")
_TOO_LARGE = 431


class ConnectionLimitError(OSError):
    """The process may open too few file descriptors; the message says how to raise the limit."""


def connection_limit(most: int = MAX_CONNECTIONS, others: int = OTHER_DESCRIPTORS) -> int:
    """Return how many connections the descriptor limit allows, at most `most`. Raises the soft limit if possible.

    `others` descriptors are reserved for everything else. Raises ConnectionLimitError if too few remain.
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
            f"this process may open {soft} file descriptors, but {soft - left + LEAST_CONNECTIONS} are "
            "needed: raise the limit with `ulimit -n` or LimitNOFILE="
        )
    return left


@dataclass(slots=True)
class _Seen:
    """What the last sweep saw of a connection, and since when."""

    phase: Phase
    since_s: float
    unsent: int = 0
    received: int = 0
    request: object = None


class Connections:
    """All connections of one service, on one event loop, at most `most`. `closed` counts those closed, by phase."""

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
        """Return the protocol for a new connection; uvicorn's factory."""
        http = _Http(self, **arguments)
        return http if self.ssl_context is None else _Handshake(self, http, self.ssl_context)

    async def watch(self) -> None:
        """Sweep forever and report how many connections were closed. A failing sweep is logged once and retried."""
        works, reported, reported_at_s = True, 0, self._clock()
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            try:
                self.sweep()
            except Exception:
                if works:
                    log.exception("connections cannot be checked, so slow ones are not closed; retrying")
                works = False
            else:
                works = True
            if self.closed.total() > reported and self._clock() - reported_at_s >= REPORT_EVERY_S:
                log.warning(
                    "connections closed since the start, by what they waited for: %s", dict(self.closed)
                )
                reported, reported_at_s = self.closed.total(), self._clock()

    def sweep(self) -> None:
        """Close each connection whose client has exceeded its time limit."""
        now_s = self._clock()
        for connection, seen in list(self._seen.items()):
            self._look(connection, seen, now_s)
            if now_s - seen.since_s >= self._patience_s.get(seen.phase, math.inf):
                self._close(connection, seen.phase)

    def enter(self, connection: _Handshake | _Http) -> None:
        """Register a new connection, closing others if there are too many."""
        self._seen[connection] = _Seen("head", self._clock())
        if len(self._seen) > self.most:
            self._make_room(connection)

    def leave(self, connection: _Handshake | _Http) -> None:
        """Forget a lost connection."""
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
        # Scrapers keep idle connections, so these go last. Among bodies still arriving, the smallest go first.
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
                "closed a connection whose client kept it waiting (%s); further ones are only counted", phase
            )
        self.closed[phase] += 1
        self._seen.pop(connection, None)
        connection.end()


class _Http(H11Protocol):
    """uvicorn's protocol with a phase. `transport` is None until it is connected."""

    def __init__(self, connections: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._all = connections
        self._unparsed = self.conn._receive_buffer = HeadBuffer()  # noqa: SLF001 - h11 has no public way
        self.received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register the connection."""
        super().connection_made(transport)
        self._all.enter(self)

    def data_received(self, data: bytes) -> None:
        """Count the received bytes."""
        self.received += len(data)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._all.leave(self)
        super().connection_lost(exc)

    def phase(self) -> Phase:
        """Return what the connection is waiting for."""
        if self.unsent():
            return "answer"  # also while closing: the rest of the response is still to be sent
        if self.transport.is_closing():
            return "closing"
        if self.cycle is not None and not self.cycle.response_complete:
            waits = self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused
            return "body" if waits else "work"
        between = self.cycle is not None and self.conn.their_state is h11.IDLE
        return "idle" if between and not self._unparsed else "head"

    def request(self) -> object:
        """Return the last request; a different one means progress."""
        return self.cycle

    def unsent(self) -> int:
        """Return how many bytes of a response the client has not read; 0 once the kernel has taken all of it.

        The kernel's buffer is included, because the kernel takes more from us only in steps of megabytes.
        """
        waiting: int = self.transport.get_write_buffer_size()
        return waiting + _in_kernel(self.transport) if waiting else 0

    def send_400_response(self, msg: str) -> None:
        """Refuse a head. uvicorn would not distinguish one that is too large from one that is not HTTP."""
        error = sys.exception()
        begun = self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE)
        if begun or not isinstance(error, h11.RemoteProtocolError) or error.error_status_hint != _TOO_LARGE:
            super().send_400_response(msg)
            return
        words = str(error) if isinstance(error, HeadError) else "the request head is too large"
        self.transport.write(_refusal("431 Request Header Fields Too Large", words))
        self.transport.close()

    def end(self) -> None:
        """Close the connection at once, with a 408 if part of a head has arrived."""
        if self.phase() == "head" and self._unparsed:
            self.transport.write(_TOO_SLOW)
            self.transport.close()
            if self.unsent():
                self.transport.abort()
        else:
            self.transport.abort()


def _in_kernel(transport: asyncio.Transport) -> int:
    """Return the bytes that the peer has not acknowledged; 0 if the system does not report them."""
    with suppress(OSError, ValueError, AttributeError):
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(answer, sys.byteorder)
    return 0


class _Handshake(asyncio.Protocol):
    """A connection until its TLS handshake is done; then HTTP takes over.

    asyncio itself would hide it until then, for up to a minute.
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
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        self._all.enter(self)
        self._securing = asyncio.get_running_loop().create_task(self._secure())

    def data_received(self, data: bytes) -> None:
        """Keep data that is decrypted before HTTP takes over."""
        self._early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
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
        except (OSError, asyncio.CancelledError):  # the client left, did not speak TLS, or was too slow
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
        """Return what the connection is waiting for."""
        return "head"

    def request(self) -> object:
        """Return None."""
        return None

    def unsent(self) -> int:
        """Return 0: no response has been started."""
        return 0

    def end(self) -> None:
        """Close the connection at once."""
        self._transport.abort()
