"""What a WSGI environ says of a request: its headers, and the template of its route. Pure.

Nothing here keeps the environ: it holds the server's objects, whose life must not be longer than it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_IDENTIFYING = (
    ("HTTP_X_REQUEST_ID", b"x-request-id"),
    ("HTTP_X_CORRELATION_ID", b"x-correlation-id"),
    ("HTTP_TRACEPARENT", b"traceparent"),
)
_WITHOUT_PREFIX = {"CONTENT_LENGTH": b"content-length", "CONTENT_TYPE": b"content-type"}


def identifying_headers(environ: Mapping[str, Any]) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers that identify a request elsewhere; made for speed, as most requests have none."""
    if not (
        "HTTP_X_REQUEST_ID" in environ or "HTTP_TRACEPARENT" in environ or "HTTP_X_CORRELATION_ID" in environ
    ):
        return ()
    return tuple((name, _bytes(environ[key])) for key, name in _IDENTIFYING if key in environ)


def request_headers(environ: Mapping[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    """Yield all headers of the request, with lowercase names."""
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            yield key[5:].replace("_", "-").lower().encode("latin-1", "replace"), _bytes(value)
        elif key in _WITHOUT_PREFIX:
            yield _WITHOUT_PREFIX[key], _bytes(value)


def route_of(environ: Mapping[str, Any]) -> str:
    """Return the template of the route, such as `/users/<int:id>`; empty if none matched, or nothing tells.

    Flask and other users of Werkzeug leave their request in the environ, Bottle its route.
    """
    rule = getattr(getattr(environ.get("werkzeug.request"), "url_rule", None), "rule", None)
    rule = rule or getattr(environ.get("bottle.route"), "rule", None)
    return f"{environ.get('SCRIPT_NAME', '')}{rule}" if isinstance(rule, str) else ""


def _bytes(value: object) -> bytes:
    return str(value).encode("latin-1", "replace")
