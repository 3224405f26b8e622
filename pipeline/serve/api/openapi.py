"""The OpenAPI 3.1 document of the whole HTTP interface: every path, with its parameters, answers and who may ask.

Only data and its assembly: models are in `models`, parameters in `openapi_parameters`, errors in `openapi_responses`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from endpoint_analytics.pipeline.serve.api import external_models, models
from endpoint_analytics.pipeline.serve.api import openapi_examples as examples
from endpoint_analytics.pipeline.serve.api.discovery import TargetGroup
from endpoint_analytics.pipeline.serve.api.models import JSON
from endpoint_analytics.pipeline.serve.api.openapi_parameters import (
    ONE_SELECTION,
    PARAMETERS,
    RANGE,
    SELECTION,
    SERIES,
    references,
)
from endpoint_analytics.pipeline.serve.api.openapi_responses import (
    NOT_MODIFIED,
    REF,
    Document,
    answered,
    answered_line,
    answered_list,
    answered_object,
    cookie,
    error_components,
    exposed,
    failed,
)

_ABOUT = """Requests, latency, hardware and replicas of inference endpoints.

Moments are Unix seconds, durations are seconds, and null means unknown: a gap, never 0.
A path answers HEAD wherever it answers GET; any other method is a 405 with `Allow`. A parameter that is unknown, given
twice or invalid is a 400 that names it. There is no 406: an `Accept` that no form matches is answered in the default
one. A request that is not HTTP, too slow, or one too many is refused in plain text before its path is known (400, 408,
503)."""

_TAGS = {
    "figures": "Everything that the page shows, for programs",
    "scraping": "Metrics for Prometheus and other scrapers, and their discovery",
    "autoscaling": "Signals for KEDA, for Kubernetes's HorizontalPodAutoscaler, and for programs",
    "session": "The page's sign-in",
    "service": "The query service itself",
}
_MODELS = (
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
)
Security = Sequence[Mapping[str, Sequence[str]]]
_TOKEN: Security = ({"token": ()},)
_SESSION: Security = ({"session": ()},)
_TOKEN_OR_SESSION: Security = (*_TOKEN, *_SESSION)
_OPTIONAL_TOKEN: Security = ({}, *_TOKEN)
_NONE: Security = ()


def _operation(
    identity: str,
    tag: str,
    summary: str,
    text: str,
    responses: Document,
    *,
    parameters: Sequence[str] = (),
    security: Security = _TOKEN_OR_SESSION,
) -> Document:
    return {
        "operationId": identity,
        "tags": [tag],
        "summary": summary,
        "description": text,
        "security": security,
        "parameters": references(parameters),
        "responses": responses,
    }


def _part(identity: str, summary: str, text: str) -> Document:
    responses = answered(models.Answer, examples.ANSWER, kept=True) | NOT_MODIFIED
    responses |= failed("problem", 400, 401, 403, 404, 413, 503)
    return _operation(identity, "figures", summary, text, responses, parameters=RANGE)


def _figures() -> dict[str, Document]:
    one = "/v2/endpoint/{namespace}/{name}"
    series = _part(
        "getSeries",
        "Series over time",
        "Series over time and, with `include`, everything else that the page shows, for the same range and moment. To "
        "stay live, ask again with the same `step` and `since=<incomplete_from>`.",
    ) | {"parameters": references(SERIES)}
    return {
        "/v2/namespaces": {
            "get": _operation(
                "listNamespaces",
                "figures",
                "Namespaces",
                "The namespaces with data that the token or session gives access to.",
                answered(models.Namespaces, examples.NAMESPACES, kept=True)
                | NOT_MODIFIED
                | failed("problem", 400, 401, 403, 503),
            )
        },
        "/v2/endpoint/{namespace}": {
            "get": _operation(
                "listEndpoints",
                "figures",
                "Endpoints of a namespace",
                "Every endpoint with its current figures and sparklines of 30 minutes.",
                answered(models.Endpoints, examples.ENDPOINTS, kept=True)
                | NOT_MODIFIED
                | failed("problem", 400, 401, 403, 404, 503),
                parameters=("namespace",),
            )
        },
        f"{one}/series": {"get": series},
        f"{one}/summary": {
            "get": _part(
                "getSummary", "Summary of a range", "Counts, shares and distributions of the whole range."
            )
        },
        f"{one}/replicas": {
            "get": _part(
                "listReplicas", "Replicas of a range", "Replicas seen in the range, with their state now."
            )
        },
        f"{one}/timeline": {
            "get": _part("getTimeline", "States over time", "The states of each replica, with reasons.")
        },
        f"{one}/events": {
            "get": _part("listEvents", "Scale events", "Changes of settings, and of replicas' states.")
        },
    }


def _scrape(identity: str, summary: str, text: str, example: str, parameters: Sequence[str]) -> Document:
    responses = exposed(text, example) | failed("text", 400, 401, 403, 404, 503)
    return _operation(
        identity, "scraping", summary, f"{text}.", responses, parameters=parameters, security=_TOKEN
    )


def _scraping() -> dict[str, Document]:
    targets = answered_list(TargetGroup, "The scrape targets", examples.TARGETS) | NOT_MODIFIED
    return {
        "/v2/endpoint/{namespace}/{name}/open-metrics": {
            "get": _scrape(
                "scrapeEndpoint",
                "Metrics of an endpoint",
                "The metrics of one endpoint, for each of its replicas",
                examples.OF_ONE,
                ("namespace", "name", *ONE_SELECTION),
            )
        },
        "/v2/endpoint/{namespace}/open-metrics": {
            "get": _scrape(
                "scrapeNamespace",
                "Metrics of a namespace",
                "The metrics of all endpoints of a namespace, labelled `endpoint_namespace` and `endpoint_name`",
                examples.OF_SEVERAL,
                ("namespace", *SELECTION),
            )
        },
        "/v2/open-metrics": {
            "get": _scrape(
                "scrapeAll",
                "Metrics of everything",
                "The same for all endpoints that the token grants access to",
                examples.OF_SEVERAL,
                SELECTION,
            )
        },
        "/v2/endpoint/{namespace}/http-sd": {
            "get": _operation(
                "discoverNamespaceTargets",
                "scraping",
                "Scrape targets of a namespace",
                "The endpoints as targets for Prometheus's `http_sd_configs`, at the address of the request's Host.",
                targets | failed("problem", 400, 401, 403, 404, 503),
                parameters=("namespace",),
            )
        },
        "/v2/http-sd": {
            "get": _operation(
                "discoverTargets",
                "scraping",
                "Scrape targets",
                "The same for all endpoints that the token grants access to.",
                targets | failed("problem", 400, 401, 403, 503),
            )
        },
    }


def _autoscaling() -> dict[str, Document]:
    external = f"/apis/{external_models.GROUP_VERSION}"
    others = external_models.OTHER_PARAMETERS
    return {
        "/v2/endpoint/{namespace}/{name}/autoscaling": {
            "get": _operation(
                "getAutoscalingSignals",
                "autoscaling",
                "Current signals of an endpoint",
                "Load over the last seconds. 503, never a guess, if nothing current is known.",
                answered(models.Autoscaling, examples.AUTOSCALING)
                | failed("problem", 400, 401, 403, 404, 503),
                parameters=("namespace", "name"),
            )
        },
        external: {
            "get": _operation(
                "listExternalMetrics",
                "autoscaling",
                "External metrics of Kubernetes",
                "Discovery of the external metrics API; it depends on nothing else.",
                answered(external_models.APIResourceList, examples.EXTERNAL_LIST) | failed("status"),
                parameters=others,
                security=_NONE,
            )
        },
        f"{external}/namespaces/{{namespace}}/{{metric}}": {
            "get": _operation(
                "getExternalMetric",
                "autoscaling",
                "One external metric",
                "The current value of one endpoint, as the HorizontalPodAutoscaler controller reads it.",
                answered(external_models.ExternalMetricValueList, examples.EXTERNAL_VALUE)
                | failed("status", 400, 401, 403, 404, 503),
                parameters=("namespace", "metric", "labelSelector", *others),
            )
        },
    }


def _session() -> Document:
    body = {
        "schema": {"$ref": REF.format(name="SignIn")},
        "example": msgspec.to_builtins(examples.SIGN_IN),
    }
    return {
        "get": _operation(
            "getSession",
            "session",
            "What the page is signed in to",
            "The session of the cookie; a token is not one.",
            answered(models.Session, examples.SESSION) | failed("problem", 401, 403, 503),
            security=_SESSION,
        ),
        "post": _operation(
            "signIn",
            "session",
            "Sign in",
            "Exchanges a token for the page's cookie, for 12 hours or until the token is revoked.",
            answered(models.Session, examples.SESSION, more=cookie("The page's cookie"))
            | failed("problem", 400, 401, 403, 408, 413, 415, 429, 503),
            security=_NONE,
        )
        | {"requestBody": {"required": True, "content": {JSON: body}}},
        "delete": _operation(
            "signOut",
            "session",
            "Sign out",
            "Ends the session of the cookie, if there is one, and clears the cookie.",
            {"204": {"description": "Signed out", "headers": cookie("Clears the page's cookie")}}
            | failed("problem", 403, 503),
            security=_NONE,
        ),
    }


def _service() -> dict[str, Document]:
    return {
        "/health": {
            "get": _operation(
                "getHealth",
                "service",
                "Liveness",
                "The process runs.",
                answered_line("It runs", "ok") | failed("text"),
                security=_NONE,
            )
        },
        "/ready": {
            "get": _operation(
                "getReadiness",
                "service",
                "Readiness",
                "ClickHouse responds and has the expected tables. Clients on the same machine see why not.",
                answered_line("It can answer", "ready") | failed("text", 503),
                security=_NONE,
            )
        },
        "/metrics": {
            "get": _operation(
                "scrapeService",
                "service",
                "Metrics of the service",
                "Open to clients on the same machine; others need a token for all namespaces.",
                exposed("Metrics of the query service itself", examples.OF_THE_SERVICE)
                | failed("text", 401, 403, 503),
                security=_OPTIONAL_TOKEN,
            )
        },
        "/openapi.json": {
            "get": _operation(
                "getOpenApi",
                "service",
                "This document",
                "The OpenAPI document of this version.",
                answered_object("The document") | NOT_MODIFIED | failed("problem"),
                security=_NONE,
            )
        },
    }


def openapi_document(version: str) -> dict[str, Any]:
    """Return the document for this version of the package."""
    _, schemas = msgspec.json.schema_components(_MODELS, ref_template=REF)
    paths = _figures() | _scraping() | _autoscaling() | {"/session": _session()} | _service()
    document: Document = {
        "openapi": "3.1.0",
        "info": {
            "title": "endpoint-analytics",
            "summary": "The query service of endpoint-analytics",
            "description": _ABOUT,
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The service that this document comes from"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "security": _TOKEN_OR_SESSION,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": PARAMETERS,
            "responses": error_components(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`endpoint-analytics token create NAMESPACE` makes one; `*` is for all namespaces",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "endpoint_analytics_session",
                    "description": "The page's cookie. Over https, its name has the prefix `__Host-`",
                },
            },
        },
    }
    used = str(paths)
    components = document["components"]
    components["responses"] = {
        name: found for name, found in components["responses"].items() if f"/{name}'" in used
    }
    return document
