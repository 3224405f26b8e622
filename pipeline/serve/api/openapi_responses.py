"""The responses of the HTTP interface in its OpenAPI document: bodies, headers and examples of each status. Only data.

Errors have one of three forms: problem details (RFC 9457) on the paths of the JSON API, one line of text on those
that scrapers and probes read, and a Status object under /apis, as Kubernetes expects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from msgspec import Struct

from endpoint_analytics.pipeline.exposition.accept import OPENMETRICS, PROMETHEUS, PROTOBUF
from endpoint_analytics.pipeline.serve.api.external_models import Status
from endpoint_analytics.pipeline.serve.api.models import JSON, PROBLEM, Problem
from endpoint_analytics.pipeline.serve.http.responses import RETRY_AFTER_S

Form = Literal["problem", "text", "status"]
Document = dict[str, Any]

TEXT = "text/plain"
REF = "#/components/schemas/{name}"

# Status -> what it means, and an example: what is wrong, where, and how to fix it.
_FAILURES: dict[int, tuple[str, str, str, str]] = {
    400: ("Invalid parameter or body", "step is 'ten'", "query parameter step", "give a whole number"),
    401: (
        "Missing or invalid token, or no session",
        "this token is unknown or revoked",
        "header Authorization",
        "send an active token",
    ),
    403: (
        "The token is for another namespace, or the request comes from another site",
        "this token is for another namespace",
        "namespace other",
        "use a token created for this namespace",
    ),
    404: (
        "The endpoint was never reported, or the name is not one",
        "there is no endpoint 'lm' in namespace 'acme'",
        "path",
        "GET /v2/endpoint/{namespace} lists the known endpoints",
    ),
    408: ("The body did not arrive in time", "the body did not arrive in time", "body", "send it at once"),
    413: (
        "More values than one answer may have, or too long a body",
        "900 series of 2000 steps are too many for one answer",
        "query parameter details",
        "request fewer points, fewer metrics, or one replica",
    ),
    415: (
        "The body is not JSON",
        "the body is not JSON",
        "header Content-Type",
        "send it as application/json",
    ),
    429: (
        "Too many failed sign-ins from this address, or too many sessions of this token",
        "too many invalid tokens were sent from this address",
        "POST /session",
        "wait for the time in Retry-After, then sign in again",
    ),
    431: (
        "The request's head is too large; text if it was refused before it was read",
        "the request head is larger than 16384 bytes",
        "head",
        "send fewer and shorter header fields, and a shorter query",
    ),
    500: (
        "A bug in the service; its log has the traceback",
        "internal error: this is a bug in the query service",
        "service",
        "its log has the traceback",
    ),
    503: (
        "ClickHouse does not answer in time, too much is asked at once, or nothing current is known",
        "ClickHouse cannot be queried right now",
        "ClickHouse",
        "try again",
    ),
}
_MODELS: dict[Form, str] = {"problem": "Problem", "status": "Status", "text": "Text"}
_UNCACHED: Document = {
    "Cache-Control": {"schema": {"const": "no-store"}, "description": "The answer is never kept"}
}
_KEPT: Document = {
    "ETag": {"required": True, "schema": {"type": "string"}, "description": "Strong; for If-None-Match"},
    "Cache-Control": {"required": True, "schema": {"type": "string"}, "description": "Revalidate each time"},
    "Vary": {"required": True, "schema": {"type": "string"}, "description": "Headers that change the answer"},
}
_CHALLENGE: Document = {
    "WWW-Authenticate": {
        "required": True,
        "schema": {"type": "string", "pattern": "^Bearer "},
        "description": "The challenge of RFC 6750",
    }
}
_AGAIN: Document = {
    "Retry-After": {
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "description": "Seconds after which the same request may succeed",
        "example": RETRY_AFTER_S,
    }
}


def answered(
    model: type[Struct], example: Struct, *, kept: bool = False, more: Document | None = None
) -> Document:
    """Return a 200 with this model as JSON; `kept`: it can be revalidated; `more` headers."""
    content = {"schema": {"$ref": REF.format(name=model.__name__)}, "example": msgspec.to_builtins(example)}
    headers = (_KEPT if kept else _UNCACHED) | (more or {})
    return _ok((model.__doc__ or "").splitlines()[0], headers, {JSON: content})


def answered_list(model: type[Struct], text: str, example: Iterable[Struct]) -> Document:
    """Return a 200 with a JSON array of this model, which can be revalidated."""
    schema = {"type": "array", "items": {"$ref": REF.format(name=model.__name__)}}
    return _ok(text, _KEPT, {JSON: {"schema": schema, "example": msgspec.to_builtins(list(example))}})


def answered_object(text: str) -> Document:
    """Return a 200 with a JSON object that has no model, which can be revalidated."""
    return _ok(text, _KEPT, {JSON: {"schema": {"type": "object"}}})


def answered_line(text: str, example: str) -> Document:
    """Return a 200 with one line of text."""
    content = {TEXT: {"schema": {"type": "string"}, "example": f"{example}\n"}}
    return _ok(text, _UNCACHED, content)


def exposed(text: str, example: str) -> Document:
    """Return a 200 in the exposition formats; Accept chooses, and there is no 406."""
    line = {"schema": {"type": "string"}}
    content: Document = {
        OPENMETRICS.media_type: {**line, "example": f"{example}# EOF\n"},
        PROMETHEUS.media_type: {**line, "example": example},
        PROTOBUF.media_type: {"schema": {"type": "string", "format": "binary"}},
    }
    form = (
        "Accept chooses the format: OpenMetrics 1.0 by default, Prometheus text 0.0.4, or delimited protobuf "
        "with native histograms"
    )
    return _ok(f"{text}. {form}", _UNCACHED | {"Vary": _KEPT["Vary"]}, content)


def _ok(text: str, headers: Document, content: Document) -> Document:
    return {"200": {"description": text, "headers": headers, "content": content}}


def cookie(text: str) -> Document:
    """Return the header that sets the page's cookie."""
    return {"Set-Cookie": {"required": True, "schema": {"type": "string"}, "description": text}}


NOT_MODIFIED: Document = {"304": {"$ref": "#/components/responses/NotModified"}}


def failed(form: Form, *statuses: int) -> Document:
    """Return references to these errors in their form; 431 and 500 may occur on any path."""
    return {
        str(status): {"$ref": f"#/components/responses/{_MODELS[form]}{status}"}
        for status in (*statuses, 431, 500)
    }


def error_components(paths: Document) -> Document:
    """Return the 304 and the errors that these paths refer to, by their component's name: Problem400, Text503 ..."""
    used = frozenset(re.findall(r"#/components/responses/(\w+)", str(paths)))
    not_modified = {"description": "The ETag in If-None-Match still matches", "headers": _KEPT}
    found: Document = {"NotModified": not_modified}
    for form, model in _MODELS.items():
        for status in _FAILURES:
            found[f"{model}{status}"] = _failure(form, status)
    return {name: response for name, response in found.items() if name in used}


def _failure(form: Form, status: int) -> Document:
    meaning, detail, where, hint = _FAILURES[status]
    headers: Document = {}
    if status == 401:
        headers = _CHALLENGE
    elif status in (429, 503) and form != "status":
        headers = _AGAIN
    content: Document = {}
    if form == "problem":
        problem = Problem("about:blank", HTTPStatus(status).phrase, status, detail, where, hint)
        content[PROBLEM] = {
            "schema": {"$ref": REF.format(name="Problem")},
            "example": msgspec.to_builtins(problem),
        }
    elif form == "status":
        told = Status.of(status, f"{detail} ({where}): {hint}")
        content[JSON] = {"schema": {"$ref": REF.format(name="Status")}, "example": msgspec.to_builtins(told)}
    if form == "text" or status == 431:
        content[TEXT] = {"schema": {"type": "string"}, "example": f"{detail}\n"}
    return {"description": meaning, "content": content} | ({"headers": headers} if headers else {})
