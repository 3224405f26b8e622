"""HTTP responses: text, status and the headers that every response carries. Their content is decided elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

# Figures change with every scrape and are only for the token's holder; no browser should render them as a document.
_EVERY: dict[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
RETRY_AFTER_S = 5


def answer(status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response of exactly this content type."""
    response = Response(body, status, {**_EVERY, **(headers or {})})
    response.headers["Content-Type"] = content_type
    return response


def text(status: int, line: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return one line of text for people."""
    return answer(status, f"{line}\n".encode(), "text/plain; charset=utf-8", headers)


def unauthorized(line: str, *, presented: bool) -> Response:
    """Return 401 with the challenge of RFC 6750; `presented`: a token was sent but is invalid."""
    challenge = 'Bearer realm="endpoint-analytics"' + (', error="invalid_token"' if presented else "")
    return text(401, line, {"WWW-Authenticate": challenge})


def unavailable(line: str) -> Response:
    """Return 503: the same request may succeed a little later."""
    return text(503, line, {"Retry-After": str(RETRY_AFTER_S)})
