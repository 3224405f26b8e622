"""The OpenAPI 3.1 document: every path and parameter, with the schemas of `models`. Only data and its assembly."""

from __future__ import annotations

from typing import Any

import msgspec

from endpoint_analytics.pipeline.serve.api import external_models, models
from endpoint_analytics.pipeline.serve.api.discovery import TargetGroup
from endpoint_analytics.pipeline.serve.api.models import GROUPS, JSON, PARTS, PROBLEM

MAX_POINTS = 2000
DEFAULT_POINTS = 300
MAX_RANGE_DAYS = 400

_REF = "#/components/schemas/{name}"
_MOMENT = "ISO 8601, Unix seconds, or relative: now, now-15m, now-6h, now-30d"


def _parameter(name: str, where: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema, "description": text}


_NAMESPACE = _parameter("namespace", "path", {"type": "string"}, "Namespace of the endpoint")
_NAME = _parameter("name", "path", {"type": "string"}, "Name of the endpoint")
_FROM = _parameter(
    "from", "query", {"type": "string", "default": "now-15m"}, f"Start of the range: {_MOMENT}"
)
_TO = _parameter("to", "query", {"type": "string", "default": "now"}, f"End of the range: {_MOMENT}")
_STEP = _parameter(
    "step",
    "query",
    {"type": "integer", "minimum": 1},
    "Seconds per step; rounded up to a stored window length",
)
_POINTS = _parameter(
    "points",
    "query",
    {"type": "integer", "minimum": 1, "maximum": MAX_POINTS, "default": DEFAULT_POINTS},
    "Approximate number of steps if `step` is absent",
)
_REPLICA = _parameter("replica", "query", {"type": "string"}, "One replica; absent: all replicas")
_SINCE = _parameter(
    "since", "query", {"type": "string"}, f"Only steps from this moment on, for live updates: {_MOMENT}"
)
_SERIES = _parameter(
    "series",
    "query",
    {"type": "string", "default": "requests,pending,latency"},
    f"Groups, comma-separated: {', '.join(GROUPS)}; empty: none",
)
_INCLUDE = _parameter(
    "include",
    "query",
    {"type": "string"},
    f"Additional parts, comma-separated: {', '.join(PARTS)}",
)
_BY = _parameter(
    "by", "query", {"enum": ["class", "status"], "default": "class"}, "How the group `requests` is split"
)
_DETAILS = _parameter(
    "details",
    "query",
    {"enum": ["true", "false"], "default": "false"},
    "Hardware and engine metrics of each replica (and device) instead of the average",
)
_METRICS = _parameter(
    "metrics",
    "query",
    {"type": "string"},
    "Metrics of the groups `hardware` and `engine`, comma-separated; absent: all",
)
_METRIC = _parameter(
    "metric",
    "path",
    {"type": "string"},
    "A metric that discovery lists: pending_per_replica, cpu_percent ...",
)
_SELECTOR = _parameter(
    "labelSelector",
    "query",
    {"type": "string"},
    "endpoint=NAME, and namespace=NAME if it differs from the path's",
)
_RANGE = [_NAMESPACE, _NAME, _FROM, _TO, _STEP, _POINTS, _REPLICA]

_FAILURES = {
    "400": "Invalid parameter",
    "401": "Missing or invalid token",
    "403": "Token for another namespace, or a cross-site request",
    "404": "The endpoint has never been reported",
    "413": "More values than fit in one answer",
    "429": "Too many failed sign-ins, or too many sessions of one token",
    "503": "ClickHouse does not answer in time, or nothing current is known",
}


def _answers(
    model: type[msgspec.Struct], *failures: str, failure: type[msgspec.Struct] = models.Problem
) -> dict[str, Any]:
    def body(name: str, text: str, content_type: str = JSON) -> dict[str, Any]:
        return {
            "description": text,
            "content": {content_type: {"schema": {"$ref": _REF.format(name=name)}}},
        }

    failed = PROBLEM if failure is models.Problem else JSON
    return {"200": body(model.__name__, (model.__doc__ or "").splitlines()[0])} | {
        status: body(failure.__name__, _FAILURES[status], failed) for status in failures
    }


def _get(text: str, model: type[msgspec.Struct], parameters: list[dict[str, Any]]) -> dict[str, Any]:
    not_modified = {"304": {"description": "The ETag in If-None-Match still matches"}}
    found = _answers(model, "400", "401", "403", "404", "413", "503") | not_modified
    return {"summary": text, "parameters": parameters, "responses": found}


def _targets() -> dict[str, Any]:
    found = _answers(TargetGroup, "400", "401", "403", "503")
    schema = {"type": "array", "items": {"$ref": _REF.format(name="TargetGroup")}}
    found["200"] = {"description": "The scrape targets", "content": {JSON: {"schema": schema}}}
    return found | {"304": {"description": "The ETag in If-None-Match still matches"}}


def openapi_document(version: str) -> dict[str, Any]:
    """Return the document for this version of the package."""
    one = "/v2/endpoint/{namespace}/{name}"
    _, components = msgspec.json.schema_components(
        (
            models.Namespaces,
            models.Session,
            models.SignIn,
            models.Endpoints,
            TargetGroup,
            models.Answer,
            models.Autoscaling,
            models.Problem,
            external_models.APIResourceList,
            external_models.ExternalMetricValueList,
            external_models.Status,
        ),
        ref_template=_REF,
    )
    sign_in = {"content": {"application/json": {"schema": {"$ref": _REF.format(name="SignIn")}}}}
    token_free: dict[str, Any] = {"security": []}
    external, status = f"/apis/{external_models.GROUP_VERSION}", external_models.Status
    failures = ("400", "401", "403", "404", "503")
    return {
        "openapi": "3.1.0",
        "info": {"title": "endpoint-analytics", "version": version, "license": {"name": "Apache-2.0"}},
        "security": [{"token": []}, {"session": []}],
        "paths": {
            "/v2/namespaces": {"get": _get("Namespaces visible to the token", models.Namespaces, [])},
            "/v2/endpoint/{namespace}": {
                "get": _get("Endpoints with their figures and sparklines", models.Endpoints, [_NAMESPACE])
            },
            "/v2/endpoint/{namespace}/http-sd": {
                "get": {"summary": "Endpoints as scrape targets, for http_sd_configs of Prometheus"}
                | {"parameters": [_NAMESPACE], "responses": _targets()}
            },
            "/v2/http-sd": {
                "get": {"summary": "The same for all endpoints that the token grants access to"}
                | {"parameters": [], "responses": _targets()}
            },
            f"{one}/series": {
                "get": _get(
                    "Series over time and, with `include`, everything else that the page shows",
                    models.Answer,
                    [*_RANGE, _SERIES, _INCLUDE, _BY, _DETAILS, _METRICS, _SINCE],
                )
            },
            f"{one}/summary": {"get": _get("The summary of a range", models.Answer, _RANGE)},
            f"{one}/replicas": {"get": _get("Replicas seen in a range", models.Answer, _RANGE)},
            f"{one}/timeline": {"get": _get("States of each replica", models.Answer, _RANGE)},
            f"{one}/events": {"get": _get("Scale events", models.Answer, _RANGE)},
            f"{one}/autoscaling": {
                "get": {"summary": "Current signals for an autoscaler", "parameters": [_NAMESPACE, _NAME]}
                | {"responses": _answers(models.Autoscaling, *failures)}
            },
            external: {
                "get": {"summary": "External metrics of Kubernetes"}
                | {"responses": _answers(external_models.APIResourceList)}
                | token_free
            },
            f"{external}/namespaces/{{namespace}}/{{metric}}": {
                "get": {"summary": "One external metric", "parameters": [_NAMESPACE, _METRIC, _SELECTOR]}
                | {"responses": _answers(external_models.ExternalMetricValueList, *failures, failure=status)}
            },
            "/session": {
                "get": {"summary": "What the page is signed in to"}
                | {"responses": _answers(models.Session, "401", "403", "503")},
                "post": {"summary": "Sign in: sets the page's cookie", "requestBody": sign_in}
                | {"responses": _answers(models.Session, "400", "401", "403", "429", "503")}
                | token_free,
                "delete": {"summary": "Sign out: clears the page's cookie"}
                | {"responses": {"204": {"description": "Signed out"}}}
                | token_free,
            },
        },
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "endpoint_analytics_session"}
                | {"description": "Over https, its name has the prefix `__Host-`"},
            },
        },
    }
