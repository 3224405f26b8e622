"""Watches one request for its details: chosen at its arrival or when its response starts, complete when it ends.

The capture methods call this; it does no I/O, changes nothing, and is made for speed: a request without details costs a
look at its response's headers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.recorder import ENDED, RecordedRequest
from endpoint_analytics.agents.outcome.details import RequestDetails
from endpoint_analytics.agents.outcome.response import ResponseReader, reader_for
from endpoint_analytics.agents.outcome.size_reader import SizeReader
from endpoint_analytics.agents.outcome.told import KEY, read_told, take
from endpoint_analytics.agents.outcome.usage import NO_USAGE

Header = tuple[bytes, bytes]

TOLD_HEADER = b"x-endpoint-analytics"
"""A response header in which a server may tell its own numbers and names."""

_ALWAYS_HASHED = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"x-api-key", b"api-key"})
"""Headers that hold secrets: a caller is never known by these as they are."""
MODEL_PATHS = frozenset(
    {
        "completions", "completion", "messages", "responses", "embeddings", "embedding", "embed", "generate",
        "generate_stream", "chat", "infill", "invocations", "rerank", "score", "classify", "pooling", "transcriptions",
        "generations", "edits",
    }
)  # fmt: skip
"""Last parts of the paths of language models' APIs: their answers in JSON name the tokens."""

_ENDS_TYPE = frozenset({b"", b";", b" "})

LENGTHS = frozenset({12, 14, 16, 20})
"""Of the names of response headers that are looked at."""


_SILENT = frozenset({
    b"text/plain",
    b"text/plain; charset=utf-8",
    b"text/html",
    b"text/html; charset=utf-8",
    b"application/octet-stream",
    b"application/x-protobuf",
    b"image/png",
    b"image/jpeg",
})  # fmt: skip
"""Frequent types of bodies that are never read; those of others are looked at more closely."""
_JSON = frozenset({
    b"application/json",
    b"application/json; charset=utf-8",
    b"application/json;charset=utf-8",
    b"application/json;charset=UTF-8",
})  # fmt: skip
"""Types of answers that only language models' APIs count tokens in."""
Glance = Literal["silent", "json", "untyped", "unknown"]


def glance(headers: Iterable[Header]) -> Glance:
    """Return what a glance at a response's headers shows: a type that is never read, JSON, no type that it knows by its
    lowercase name, or that a full look is needed. Made for speed: the full look comes to the same end.
    """
    found: Glance = "untyped"
    for name, value in headers:
        size = len(name)
        if size == 12:
            if name == b"content-type":
                if value in _JSON:
                    found = "json"
                elif value in _SILENT:
                    found = "silent"
                else:
                    return "unknown"
        elif size == 20:
            return "unknown"
    return found


def says_nothing(path: str, headers: Iterable[Header]) -> bool:
    """Return whether a glance shows that a response says nothing of itself, as most do not; header names may be in any
    case."""
    found = glance(headers)
    return found == "silent" or (found == "json" and path.rpartition("/")[2] not in MODEL_PATHS)


class OutcomeWatcher:
    """Which details this process keeps, and how. `report` gets exceptions that are bugs of ours."""

    def __init__(self, config: AgentConfig, report: Callable[[Exception], None]) -> None:
        self._report = report
        self.is_all = config.outcomes == "all" or bool(config.dimensions)
        self.names_route = "route" in config.dimensions
        self._caller_header = config.caller_header.lower().encode() if "caller" in config.dimensions else b""
        self._is_hashed = config.caller_hashed or self._caller_header in _ALWAYS_HASHED

    def arrived(self, request: RecordedRequest, headers: Iterable[Header]) -> Watch | None:
        """Return a watch if details are kept of every request. Header names are lowercase; raises nothing."""
        if not self.is_all or request.stage == ENDED:  # a request that is not recorded has ended
            return None
        try:
            watch = Watch(request)
            watch.counts_request = True
            for name, value in headers:
                if name == b"content-length" and value.isdigit():
                    watch.details.request_bytes, watch.counts_request = int(value), False
                elif name == self._caller_header:
                    watch.details.caller = caller_name(value, is_hashed=self._is_hashed)
        except Exception as error:  # noqa: BLE001  # a bug of ours
            self._give_up(request, error)
            return None
        return watch

    def responded(
        self,
        request: RecordedRequest,
        watch: Watch | None,
        path: str,
        status: int,
        headers: Iterable[Header],
        *,
        has_body: bool = True,
    ) -> Watch | None:
        """Return the request's watch: a new one if its body is worth reading. `has_body` is false if the response can
        have none, by its status or the request's method. Raises nothing."""
        if request.stage == ENDED:
            return None
        try:
            return self._responded(request, watch, path, status, headers, has_body)
        except Exception as error:  # noqa: BLE001  # a bug of ours
            self._give_up(request, error)
            return None

    def ended(
        self, watch: Watch, scope: Mapping[str, Any], route_of: Callable[[Mapping[str, Any]], str]
    ) -> None:
        """The response has ended or broken off: complete the details, with what the application told in the scope of
        ASGI or the environ of WSGI. Raises nothing."""
        try:
            if self.names_route:
                watch.details.route = route_of(scope)
            watch.end(scope.get(KEY))
        except Exception as error:  # noqa: BLE001  # a bug of ours, or what was told is no mapping
            self._report(error)

    def _responded(
        self,
        request: RecordedRequest,
        watch: Watch | None,
        path: str,
        status: int,
        headers: Iterable[Header],
        has_body: bool,
    ) -> Watch | None:
        kind = encoding = told = length = b""
        for name, value in headers:
            size = len(name)
            if size == 12 and name.lower() == b"content-type":
                kind = value
            elif size == 14 and name.lower() == b"content-length":
                length = value
            elif size == 16 and name.lower() == b"content-encoding":
                encoding = value
            elif size == 20 and name.lower() == TOLD_HEADER:
                told = value
        reader = None
        if has_body and (path.rpartition("/")[2] in MODEL_PATHS or not _is_json(kind)):
            reader = reader_for(status, kind, encoding, self._report)
        if reader is None and watch is None and not told:
            return None
        watch = watch or Watch(request)
        watch.reader = reader or (SizeReader() if self.is_all and has_body else None)
        if told:
            read_told(told, watch.details)
        if not has_body:
            watch.details.response_bytes = 0
        elif length.isdigit():
            watch.details.response_bytes = int(length)
        return watch

    def _give_up(self, request: RecordedRequest, error: Exception) -> None:
        """Keep no details of the request; its phases are recorded all the same."""
        request.details = None
        self._report(error)


class Watch:
    """What is known so far of one request's details."""

    __slots__ = ("counts_request", "details", "reader")

    def __init__(self, request: RecordedRequest) -> None:
        self.details = RequestDetails()
        self.reader: ResponseReader | None = None
        self.counts_request = False
        request.details = self.details

    def request_piece(self, piece: bytes) -> None:
        """A piece of the request's body was received: without a Content-Length, they are counted."""
        if self.counts_request:
            self.details.request_bytes = (self.details.request_bytes or 0) + len(piece)

    def body_unseen(self) -> None:
        """The server sends the body itself, such as a file: of its size is known only what the headers promise."""
        self.reader = None

    def end(self, told: Mapping[str, object] | None) -> None:
        """The response has ended or broken off: complete the details, with what the application told."""
        reader, details = self.reader, self.details
        if told:
            take(told, details)
        if reader is None:
            return
        self.reader = None
        body = details.body = reader.end()
        details.response_bytes = body.body_bytes
        details.model = details.model or body.model or ""
        details.is_estimated = body.is_estimated and details.usage.output_tokens is None
        details.usage = body.usage if details.usage is NO_USAGE else details.usage.or_else(body.usage)


def _is_json(kind: bytes) -> bool:
    """Return whether a Content-Type is that of one JSON text, which most servers answer with; lines of it are not."""
    return kind.startswith(b"application/json") and kind[16:17] in _ENDS_TYPE


@lru_cache(maxsize=4096)
def caller_name(value: bytes, *, is_hashed: bool) -> str:
    """Return a caller's name: the header's value, or 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(value).hexdigest()[:16] if is_hashed else value.decode("utf-8", "replace").strip()
