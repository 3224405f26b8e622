"""One request through ASGI: observes `receive` and `send`, and reports to the recorder.

It changes no message and adds no wait, and its own failures are only logged. The rules for a request's end are here: a
response counts as finished once `send` of its last message has returned and the server did not discard it.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable
from typing import Any, TypeVar

from endpoint_analytics.agents.core.clock import now_ns
from endpoint_analytics.agents.core.recorder import ENDED, PENDING, STREAMING, RecordedRequest
from endpoint_analytics.agents.middleware.asgi_connection import (
    Message,
    QueueReceive,
    Receive,
    Send,
    server_of,
)
from endpoint_analytics.agents.middleware.asgi_route import route_of
from endpoint_analytics.agents.middleware.harmless import harmless, report_bug
from endpoint_analytics.agents.outcome.response import ResponseReader
from endpoint_analytics.agents.outcome.watch import OutcomeWatcher, Watch, says_nothing

SLOW_NS = 10_000_000
"""After this time without a check, the socket itself is checked: the application may have blocked the event loop."""

MOST_UNCHECKED = 64
"""Pieces of a streamed response that are passed on at most without a look at them: see `AsgiExchange.send`."""

LOOK_EVERY = 4
"""Of those, so many pass between two looks at the clock: if they have become slow, the next one is checked."""

EARLY_HINTS = 103
_BODYLESS = frozenset({204, 304})
_FILES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""Messages of extensions with which the server sends a file: its bytes are not seen here."""


if sys.version_info >= (3, 12):
    _marked = inspect.markcoroutinefunction
else:
    _Function = TypeVar("_Function")

    def _marked(function: _Function) -> _Function:
        """Let `asyncio.iscoroutinefunction` say yes: some frameworks ask it about `send`."""
        function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # noqa: SLF001
        return function


class AsgiExchange:
    """Pass `receive` and `send` to the application; call `returned` or `failed` when it is done."""

    __slots__ = (
        "_at_ns",
        "_at_once",
        "_body_bytes",
        "_checking",
        "_ending",
        "_looked_ns",
        "_owner",
        "_reader",
        "_receive",
        "_request",
        "_scope",
        "_send",
        "_server",
        "_start",
        "_unchecked",
        "_watch",
        "_watcher",
    )

    def __init__(
        self,
        request: RecordedRequest,
        scope: Message,
        receive: Receive,
        send: Send,
        watcher: OutcomeWatcher | None = None,
    ) -> None:
        owner: Any = getattr(receive, "__self__", None)
        if isinstance(owner, asyncio.Queue):
            owner = QueueReceive(owner)
            receive = owner.receive
        self._request = request
        self._scope = scope
        self._receive = receive
        self._send = send
        self._owner = owner
        self._server = server_of(type(owner))  # type: ignore[arg-type]  # mypy takes its __hash__ for unbound
        self._looked_ns = request.arrived_ns
        self._start: Message | None = None
        self._body_bytes = 0
        self._ending = False
        self._at_ns = request.arrived_ns
        self._at_once = 0
        self._unchecked = 0
        self._checking = 0
        self._watcher = watcher
        self._watch: Watch | None = None
        self._reader: ResponseReader | None = None
        if watcher is not None:
            headers = request.headers = scope.get("headers", ())
            if watcher.is_all:
                self._watch = watcher.arrived(request, headers)

    @_marked
    def send(self, message: Message) -> Awaitable[None]:
        """Pass on the application's message, and record it once the server has accepted it.

        A response may be streamed in thousands of pieces, of which only the last says something new. So while pieces
        come quickly, only one of a few is checked, for whether its client is still there; the others go to the server
        directly. Not while a checked one is on its way: pieces stay in the order in which they are sent.
        """
        if unchecked := self._unchecked:
            self._unchecked = unchecked - 1
            try:
                direct = message["more_body"] and (
                    unchecked % LOOK_EVERY or now_ns() - self._at_ns <= SLOW_NS
                )
            except Exception:  # noqa: BLE001  # the last piece, or what is no message: the server decides
                direct = False
            if direct:
                if self._reader is not None:
                    self._read(message)
                return self._send(message)
            self._unchecked = 0
        self._checking += 1
        return self._checked_send(message)

    async def receive(self) -> Message:
        """Pass on the server's message; a disconnect before the end of the response is an abort."""
        message = await self._receive()
        try:
            if self._watch is not None and message["type"] == "http.request":
                self._watch.request_piece(message.get("body", b""))
            if message["type"] == "http.disconnect" and not self._ending:
                self._abort()
        except Exception as error:  # noqa: BLE001  # a bug of the middleware
            self.give_up(error)
        return message

    async def _checked_send(self, message: Message) -> None:
        request = self._request
        try:
            if request.stage == ENDED:
                await self._send(message)
                return
            try:
                kind = message["type"]
                if kind == "http.response.body":
                    last = not (message.get("more_body") or self._has_trailers())
                elif kind == "http.response.start":
                    last = False
                    self._start = message
                else:
                    last = _is_last(message)
                if self._is_gone():
                    self._abort()
                elif self._reader is not None:
                    self._read(message)
                self._ending = last
            except Exception as error:  # noqa: BLE001  # a bug of the middleware
                self.give_up(error)
            try:
                await self._send(message)
            except OSError:
                self.broken()
                raise
            try:
                if request.stage == ENDED:
                    pass
                elif self._server.was_lost(self._owner):
                    self._abort()
                elif last:
                    if self._watch is not None:
                        self._complete()
                    request.finish()
                elif kind == "http.response.start":
                    request.respond(message["status"])
                    if self._watcher is not None:
                        self._watch_response(self._watcher, message)
                elif kind == "http.response.body":
                    self._body_bytes += len(message.get("body", b""))
                    self._set_pace()
                elif kind == "http.response.early_hint":
                    request.respond_interim(EARLY_HINTS)
            except Exception as error:  # noqa: BLE001  # a bug of the middleware
                self.give_up(error)
        finally:
            self._checking -= 1

    def returned(self) -> None:
        """The application returned. Without a response the server sends 500; one that has started is cut off."""
        if self._request.stage != ENDED:
            self.failed()

    @harmless
    def failed(self) -> None:
        """The application raised or was cancelled. Without a response servers send 500; one that has started is cut
        off."""
        request = self._request
        if request.stage == PENDING and self._start is None and not self._is_gone():
            request.respond(500)
            self._complete()
            request.finish()
        else:
            self._abort()

    @harmless
    def broken(self) -> None:
        """The server failed to send."""
        self._abort()

    def give_up(self, error: Exception) -> None:
        """Stop recording this request, which counts as aborted if possible; raises nothing."""
        self._watch = self._reader = None
        self._request.give_up()
        report_bug(error)

    def _watch_response(self, watcher: OutcomeWatcher, start: Message) -> None:
        """The response has started: decide whether its body is to be read. A bug costs the details alone."""
        try:
            path, headers = self._scope.get("path", ""), start.get("headers", ())
            if self._watch is None and says_nothing(path, headers):
                return
            status = start["status"]
            has_body = self._scope.get("method") != "HEAD" and status not in _BODYLESS
            watch = watcher.responded(self._request, self._watch, path, status, headers, has_body=has_body)
            self._watch, self._reader = watch, None if watch is None else watch.reader
        except Exception as error:  # noqa: BLE001  # a bug of the middleware
            self._watch = self._reader = None
            report_bug(error)

    def _read(self, message: Message) -> None:
        """Read a piece of the body before it is passed on, at the time at which it is."""
        try:
            kind = message["type"]
            if kind == "http.response.body":
                if self._reader is not None:
                    self._reader.read(message.get("body", b""), now_ns())
            elif kind in _FILES and self._watch is not None:
                self._reader = None
                self._watch.body_unseen()
        except Exception as error:  # noqa: BLE001  # what is no message: the server decides
            self._reader = None
            report_bug(error)

    def _complete(self) -> None:
        """Complete the request's details, before it ends. A bug costs the details alone."""
        watch, watcher = self._watch, self._watcher
        if watch is None or watcher is None or self._request.stage == ENDED:
            return
        self._watch = self._reader = None
        try:
            watcher.ended(watch, self._scope, route_of)
        except Exception as error:  # noqa: BLE001  # a bug of the middleware
            report_bug(error)

    def _set_pace(self) -> None:
        """After a piece: decide how many of the next go unchecked, twice as many as last time if those took less than
        SLOW_NS; none where the bytes of each count."""
        at_ns = now_ns()
        if at_ns - self._at_ns > SLOW_NS:
            self._at_once = 0
        elif self._at_once:
            self._at_once = min(2 * self._at_once, MOST_UNCHECKED)
        elif self._promised_bytes() is None:
            self._at_once = 1
        self._at_ns = at_ns
        # Nothing may overtake another piece that is being checked.
        self._unchecked = self._at_once if self._checking == 1 else 0

    def _is_gone(self) -> bool:
        if self._server.is_gone(self._owner):
            return True
        at_ns = now_ns()
        if at_ns - self._looked_ns < SLOW_NS:
            return False
        self._looked_ns = at_ns
        return self._server.is_closed(self._owner)

    def _abort(self) -> None:
        """End the request early, unless the client already has all of the response."""
        self._complete()
        if self._request.stage == STREAMING and self._is_complete():
            self._request.finish()
        else:
            self._request.abort()

    def _has_trailers(self) -> bool:
        return self._start is not None and bool(self._start.get("trailers"))

    def _is_complete(self) -> bool:
        """Return whether the server accepted every byte that the headers promised; used only when a request aborts."""
        start = self._start
        if start is None:
            return False
        if self._scope.get("method") == "HEAD" or start["status"] in _BODYLESS:
            return True
        promised = self._promised_bytes()
        return promised is not None and self._body_bytes >= promised

    def _promised_bytes(self) -> int | None:
        """Return the length that the headers promise for the body, if they do."""
        for name, value in () if self._start is None else self._start.get("headers", ()):
            if name.lower() == b"content-length":
                return int(value) if value.isdigit() else None
        return None


def _is_last(message: Message) -> bool:
    """Return whether an extension's message (trailers, sending a file) ends the response."""
    kind = message["type"]
    if kind == "http.response.trailers":
        return not message.get("more_trailers")
    if kind == "http.response.zerocopysend":
        return not message.get("more_body")
    return bool(kind == "http.response.pathsend")
