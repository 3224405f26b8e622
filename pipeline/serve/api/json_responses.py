"""JSON over HTTP: bodies with ETags, 304, gzip, and errors with a hint. No figures here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from endpoint_analytics.pipeline.exposition.accept import accepts_gzip
from endpoint_analytics.pipeline.serve.api.external_models import Status
from endpoint_analytics.pipeline.serve.api.models import JSON, PROBLEM, Problem, encode
from endpoint_analytics.pipeline.serve.api.query import QueryError
from endpoint_analytics.pipeline.serve.http.field_lists import joined
from endpoint_analytics.pipeline.serve.scrape.scrapes import GZIP_FROM_BYTES, compress
from endpoint_analytics.pipeline.serve.static.page_headers import DATA_HEADERS

# Cached only by the user's own browser and revalidated each time, by its ETag.
_KEPT = {"Cache-Control": "private, no-cache", "Vary": "Accept-Encoding, Authorization, Cookie"}
_NOT_KEPT = {"Cache-Control": "no-store"}
RETRY_AFTER_S = 5


@dataclass(slots=True)
class ReplyBody:
    """An answer's bytes, made once for identical requests: plain, compressed, and their hash."""

    plain: bytes
    tag: str = field(init=False)
    _gzip: bytes | None = None

    def __post_init__(self) -> None:
        self.tag = hashlib.sha256(self.plain).hexdigest()[:32]

    def gzip(self) -> bytes:
        """Return the gzip-compressed bytes."""
        if self._gzip is None:
            self._gzip = compress(self.plain)
        return self._gzip


def reply(request: Request, body: ReplyBody) -> Response:
    """Return 200 with the body, or 304 if the client already has it.

    ETags are strong, so the gzip form of the same figures has a different one (RFC 9110, 8.8.3.3).
    """
    zipped = len(body.plain) >= GZIP_FROM_BYTES and accepts_gzip(joined(request.headers, "accept-encoding"))
    tag = f'"{body.tag}-gzip"' if zipped else f'"{body.tag}"'
    headers = {**_KEPT, "ETag": tag}
    if _matches(joined(request.headers, "if-none-match"), tag):
        return _response(304, b"", headers)
    if zipped:
        return _response(200, body.gzip(), {**headers, "Content-Encoding": "gzip"})
    return _response(200, body.plain, headers)


def _matches(if_none_match: str | None, tag: str) -> bool:
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or tag in (
        item.strip().removeprefix("W/") for item in if_none_match[:2048].split(",")
    )


def plain_reply(model: Struct, headers: Mapping[str, str] | None = None) -> Response:
    """Return 200 with an answer that must not be cached."""
    return _response(200, encode(model), {**_NOT_KEPT, **(headers or {})})


def no_content(headers: Mapping[str, str]) -> Response:
    """Return 204."""
    return _response(204, b"", {**_NOT_KEPT, **headers})


def failure(error: QueryError) -> Response:
    """Return the error as problem details (RFC 9457)."""
    again = {"Retry-After": str(RETRY_AFTER_S)} if error.status in (429, 503) else {}
    title = HTTPStatus(error.status).phrase
    problem = Problem("about:blank", title, error.status, error.what, error.where, error.hint)
    return _failed(error, problem, again, PROBLEM)


def status_failure(error: QueryError) -> Response:
    """Return the error in Kubernetes's format, without `Retry-After`: client-go would wait that long up to ten times,
    occupying one of the five workers that all HorizontalPodAutoscalers of a cluster share."""
    return _failed(error, Status.of(error.status, f"{error.what} ({error.where}): {error.hint}"), {})


def _failed(error: QueryError, model: Struct, more: Mapping[str, str], content_type: str = JSON) -> Response:
    headers = {**_NOT_KEPT, **more}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="endpoint-analytics"'
    return _response(error.status, encode(model), headers, content_type)


def _response(status: int, body: bytes, headers: Mapping[str, str], content_type: str = JSON) -> Response:
    response = Response(body, status, {**DATA_HEADERS, **headers})
    if status not in (204, 304):
        response.headers["Content-Type"] = content_type
    return response
