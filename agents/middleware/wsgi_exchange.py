"""One request through WSGI (PEP 3333): observes what the application passes to the server, and reports to the recorder.

It changes nothing and adds no wait, and its own failures are only logged. A server sends the headers with the first
non-empty piece of the body, so a request has responded when the server asks for the piece after that, not when the
application calls `start_response`. It has finished when the server closes the body after reading it to its end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from endpoint_analytics.agents.core.clock import now_ns
from endpoint_analytics.agents.core.recorder import ENDED, PENDING, STREAMING, RecordedRequest
from endpoint_analytics.agents.middleware.harmless import harmless, report_bug
from endpoint_analytics.agents.middleware.wsgi_connection import is_closed
from endpoint_analytics.agents.middleware.wsgi_request import identifying_headers, request_headers, route_of
from endpoint_analytics.agents.outcome.response import ResponseReader
from endpoint_analytics.agents.outcome.watch import LENGTHS, OutcomeWatcher, Watch

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], Any]]

SLOW_NS = 1_000_000
"""After this time without a check, the client's socket is checked, which takes a few microseconds."""

MOST_UNCHECKED = 32
"""Pieces of a streamed body that are passed on at most without a look at them: see `WsgiExchange.taken`."""

_BODYLESS = frozenset({204, 304})


class WsgiExchange:
    """Pass `start_response` to the application, and `body(result)` to the server."""

    __slots__ = (
        "_environ",
        "_headers",
        "_is_watched",
        "_looked_ns",
        "_offered_bytes",
        "_reader",
        "_request",
        "_start_response",
        "_status",
        "_taken_bytes",
        "_watch",
        "_watcher",
        "at_ns",
        "at_once",
    )

    def __init__(
        self,
        request: RecordedRequest,
        environ: Environ,
        start_response: StartResponse,
        watcher: OutcomeWatcher | None = None,
    ) -> None:
        self._request = request
        self._environ = environ
        self._start_response = start_response
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._offered_bytes = self._taken_bytes = 0
        self._looked_ns = self.at_ns = request.arrived_ns
        self.at_once = 0
        """The next so many pieces need not be reported."""
        self._watcher = watcher
        self._watch: Watch | None = None
        self._reader: ResponseReader | None = None
        self._is_watched = watcher is None
        if watcher is not None:
            request.headers = identifying_headers(environ)
            if watcher.is_all:
                self._watch = watcher.arrived(request, request_headers(environ))

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """Pass the status on. The last call before the first piece counts: an error may replace the status."""
        if exc_info is None:
            write = self._start_response(status, headers)
        else:
            try:
                write = self._start_response(status, headers, exc_info)
            finally:
                exc_info = None  # required by PEP 3333: it would keep its frames alive
        self.started(status, headers)

        def watched(data: bytes) -> None:
            self.offer(data)
            try:
                write(data)
            except OSError:
                self.abort()
                raise
            self.taken()

        return watched

    def body(self, result: Iterable[bytes]) -> Iterable[bytes]:
        """Return what the server should iterate and close in place of `result`."""
        try:
            return self._watched(result)
        except Exception as error:  # noqa: BLE001  # a bug of the middleware
            self.give_up(error)
            return result

    def _watched(self, result: Iterable[bytes]) -> Iterable[bytes]:
        wrapper = self._environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and type(result) is wrapper and _close_with(result, self):
            self.offer(b"")
            self._request.respond(self._status or 500)
            self._watch_response()
            if self._watch is not None:
                self._reader = None
                self._watch.body_unseen()
            return result  # the server may send the file itself: it checks for exactly this type
        return SizedBody(result, self) if hasattr(result, "__len__") else RecordedBody(result, self)

    @harmless
    def started(self, status: str, headers: list[tuple[str, str]]) -> None:
        """The server accepted the status and the headers."""
        self._status = status_code(status)
        self._headers = headers

    @harmless
    def offer(self, data: bytes) -> None:
        """The server gets a piece of the body next; if the client is gone, that is an abort."""
        at_ns = now_ns()
        if at_ns - self._looked_ns >= SLOW_NS:
            self._looked_ns = at_ns
            if self._request.stage != ENDED and is_closed(self._environ):
                self.abort()
        if data:
            if not self._is_watched:
                self._watch_response()
            if self._reader is not None:
                self._read(data, at_ns)
        self._offered_bytes += len(data)

    @harmless
    def taken(self) -> None:
        """The server is done with the previous piece: if it held any data, the headers are sent.

        Sets how many of the next pieces need not be reported: while pieces come quickly, only one of a few says
        something new, unless the bytes of each count.
        """
        self._taken_bytes = self._offered_bytes
        if self._taken_bytes and self._request.stage == PENDING:
            self._request.respond(self._status)
        at_ns = now_ns()
        if at_ns - self.at_ns > SLOW_NS:
            self.at_once = 0
        elif self.at_once:
            self.at_once = min(2 * self.at_once, MOST_UNCHECKED)
        elif self._reader is not None:
            self.at_once = 0  # each piece is read
        elif self._request.stage == STREAMING and self._promised_bytes() is None:
            self.at_once = 1
        self.at_ns = at_ns

    @harmless
    def complete(self) -> None:
        """The server has read the body to its end and closes it."""
        request = self._request
        if request.stage == PENDING:
            request.respond(self._status or 500)
        if not self._is_watched:
            self._watch_response()  # without a body
        self._complete()
        request.finish()

    @harmless
    def failed(self) -> None:
        """The application raised: if nothing was sent yet the server answers 500, otherwise it cuts the response off.

        A client that left, perhaps during its upload, gets no answer.
        """
        if self._request.stage == PENDING and not self._offered_bytes and not is_closed(self._environ):
            self._request.respond(500)
            self._complete()
            self._request.finish()
        else:
            self.abort()

    @harmless
    def abort(self) -> None:
        """The request ends early, unless the client has everything that the headers promised."""
        self._complete()
        if self._request.stage == STREAMING and self._is_complete():
            self._request.finish()
        else:
            self._request.abort()

    @harmless
    def closed_early(self) -> None:
        """The server closes the body without reading it to its end: the client left, or no body was needed."""
        if self._status and self._needs_no_body():
            self.complete()
        else:
            self.abort()

    def _watch_response(self) -> None:
        """The headers go out with the first piece that is not empty: decide whether the body is to be read. A bug
        costs the details alone."""
        self._is_watched = True
        if self._watcher is None:
            return
        try:
            headers = [
                (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
                for name, value in self._headers
                if len(name) in LENGTHS
            ]
            path, has_body = self._environ.get("PATH_INFO", ""), not self._needs_no_body()
            watch = self._watcher.responded(
                self._request, self._watch, path, self._status, headers, has_body=has_body
            )
            self._watch, self._reader = watch, None if watch is None else watch.reader
        except Exception as error:  # noqa: BLE001  # a bug of the middleware
            self._watch = self._reader = None
            report_bug(error)

    def _read(self, data: bytes, at_ns: int) -> None:
        try:
            if self._reader is not None:
                self._reader.read(data, at_ns)
        except Exception as error:  # noqa: BLE001  # a bug of ours
            self._reader = None
            report_bug(error)

    def _complete(self) -> None:
        """Complete the request's details, before it ends. A bug costs the details alone."""
        watch, watcher = self._watch, self._watcher
        if watch is None or watcher is None or self._request.stage == ENDED:
            return
        self._watch = self._reader = None
        try:
            watcher.ended(watch, self._environ, route_of)
        except Exception as error:  # noqa: BLE001  # a bug of the middleware
            report_bug(error)

    def give_up(self, error: Exception) -> None:
        """Stop recording this request, which counts as aborted if possible; raises nothing."""
        self._watch = self._reader = None
        self._request.give_up()
        report_bug(error)

    def _needs_no_body(self) -> bool:
        return self._environ.get("REQUEST_METHOD") == "HEAD" or self._status in _BODYLESS

    def _is_complete(self) -> bool:
        if self._needs_no_body():
            return True
        promised = self._promised_bytes()
        return promised is not None and self._taken_bytes >= promised

    def _promised_bytes(self) -> int | None:
        """Return the length that the headers promise for the body, if they do."""
        for name, value in self._headers:
            if name.lower() == "content-length":
                return int(value) if value.isdigit() else None
        return None


class RecordedBody:
    """Wraps the application's iterable, and observes it."""

    __slots__ = ("_exchange", "_is_read", "_iterator", "_result")

    def __init__(self, result: Iterable[bytes], exchange: WsgiExchange) -> None:
        self._result = result
        self._iterator: Iterator[bytes] | None = None
        self._exchange = exchange
        self._is_read = False

    def __iter__(self) -> Iterator[bytes]:
        if self._iterator is None:
            self._iterator = self._pieces()
        return self._iterator

    def __next__(self) -> bytes:
        """Return the application's next piece, for servers that expect an iterator."""
        return next(iter(self))

    def _pieces(self) -> Iterator[bytes]:
        exchange, unchecked, at_ns = self._exchange, 0, 0
        try:
            for piece in self._result:
                if unchecked:
                    unchecked -= 1
                    try:
                        quick = now_ns() - at_ns <= SLOW_NS
                    except Exception:  # noqa: BLE001  # a bug of the middleware
                        quick = False
                    if quick:
                        yield piece
                        continue
                exchange.offer(piece)
                yield piece
                exchange.taken()
                unchecked, at_ns = exchange.at_once, exchange.at_ns
        except GeneratorExit:
            raise  # the server reads no further
        except Exception:
            exchange.failed()
            raise
        except BaseException:
            exchange.abort()
            raise
        self._is_read = True

    def close(self) -> None:
        """Record the end, and close the application's iterable."""
        self._iterator = None
        if self._is_read:
            self._exchange.complete()
        else:
            self._exchange.closed_early()
        close = getattr(self._result, "close", None)
        if close is not None:
            close()


class SizedBody(RecordedBody):
    """Usually a list: a server may use its length to send a Content-Length itself."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._result)  # type: ignore[arg-type]  # only created for results that have a length


def status_code(status: str) -> int:
    """Return the code in `200 OK`; 500 if there is none, which servers refuse."""
    code = status[:3]
    return int(code) if code.isdigit() else 500


def _close_with(result: Any, exchange: WsgiExchange) -> bool:
    """Observe how the server's own file object is closed; returns whether its class allows that."""
    close = getattr(result, "close", None)
    before = sys.exc_info()[1]

    def watched() -> None:
        # A server closes it in a `finally`: a new exception at that point is the reason. waitress counts what remains.
        if sys.exc_info()[1] is not before or getattr(result, "remain", None):
            exchange.closed_early()
        else:
            exchange.complete()
        if close is not None:
            close()

    try:
        result.close = watched
    except AttributeError:
        return False
    return True
