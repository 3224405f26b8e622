"""What one server span tells of a request, by the HTTP semantic conventions, stable and old. Pure.

https://opentelemetry.io/docs/specs/semconv/http/http-spans/. A span arrives when its request has ended, so it becomes
a request like that of an access log's line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from endpoint_analytics.agents.log.logged import CLIENT_CLOSED, Logged

SERVER = Span.SpanKind.SPAN_KIND_SERVER
_ERROR = Status.StatusCode.STATUS_CODE_ERROR
_STATUS = ("http.response.status_code", "http.status_code")
_METHOD = ("http.request.method", "http.method")
_PATH = ("url.path", "http.target", "http.route")
_WANTED = frozenset({*_STATUS, *_METHOD, *_PATH, "error.type"})

# OpenTelemetry's ASGI instrumentation reports each `send` of the application as a child of the server span.
_ASGI_SEND = " http send"
_ASGI_EVENT, _ASGI_RESPONSE_START = "asgi.event.type", "http.response.start"


def texts_of(attributes: Iterable[KeyValue], wanted: frozenset[str]) -> dict[str, Any]:
    """Return the wanted attributes that are text, numbers or truth values."""
    found: dict[str, Any] = {}
    for attribute in attributes:
        if attribute.key in wanted and (kind := attribute.value.WhichOneof("value")) is not None:
            found[attribute.key] = getattr(attribute.value, kind)
    return found


def read_request(span: Span, responded_ns: int | None) -> Logged | None:
    """Return the request of a server span; None if it is not about HTTP.

    `responded_ns` is when its response started, if another span told. A request without a status was aborted before
    there was one. One that failed after a status below 400, by `error.type` or an exception, was aborted while it was
    streaming: the conventions leave the span's status unset for such a response.
    """
    attributes = texts_of(span.attributes, _WANTED)
    status = _status(_first(attributes, _STATUS))
    if status is None and _first(attributes, _METHOD) is None:
        return None
    if status == CLIENT_CLOSED:
        status = None
    duration_us = max(span.end_time_unix_nano - span.start_time_unix_nano, 0) // 1_000
    failed = (
        status is not None and status < 400 and span.status.code == _ERROR and _has_error(span, attributes)
    )
    path = _first(attributes, _PATH)
    return Logged(
        status=status,
        end_us=span.end_time_unix_nano // 1_000,
        duration_us=duration_us if span.start_time_unix_nano else None,
        wait_us=None if responded_ns is None else max(responded_ns - span.start_time_unix_nano, 0) // 1_000,
        is_aborted=status is None or failed,
        target=None if path is None else str(path),
    )


def read_response_start(span: Span) -> int | None:
    """Return when the parent's response started, in nanoseconds since 1970; None if the span is another."""
    if not span.name.endswith(_ASGI_SEND):
        return None
    for attribute in span.attributes:
        if attribute.key == _ASGI_EVENT and attribute.value.string_value == _ASGI_RESPONSE_START:
            at_ns: int = span.start_time_unix_nano
            return at_ns
    return None


def _has_error(span: Span, attributes: dict[str, Any]) -> bool:
    """Whether the span names an error other than its status."""
    error = str(attributes.get("error.type", ""))
    return (bool(error) and not error.isdecimal()) or any(event.name == "exception" for event in span.events)


def _first(attributes: dict[str, Any], names: tuple[str, ...]) -> Any:  # an attribute's value
    return next((attributes[name] for name in names if name in attributes), None)


def _status(value: object) -> int | None:
    """Return the status; some senders write it as text or with a fraction of 0, or as 0 when there was none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        status = int(str(value)) if value is not None else 0
    except ValueError:
        return None
    return status or None
