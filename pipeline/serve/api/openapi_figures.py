"""The paths of the JSON API in the OpenAPI document: figures, autoscaling and the session. Only data."""

from __future__ import annotations

import msgspec

from endpoint_analytics.pipeline.serve.api import external_models, models
from endpoint_analytics.pipeline.serve.api import openapi_examples as examples
from endpoint_analytics.pipeline.serve.api.models import JSON
from endpoint_analytics.pipeline.serve.api.openapi_operation import ANYONE, SESSION, operation
from endpoint_analytics.pipeline.serve.api.openapi_parameters import RANGE, SERIES, references
from endpoint_analytics.pipeline.serve.api.openapi_responses import (
    NOT_MODIFIED,
    REF,
    Document,
    answered,
    cookie,
    failed,
)


def figure_paths() -> dict[str, Document]:
    """Return the paths with what each answers."""
    return _figures() | _autoscaling() | {"/session": _session()}


def _part(identity: str, summary: str, text: str) -> Document:
    responses = answered(models.Answer, examples.ANSWER, kept=True) | NOT_MODIFIED
    responses |= failed("problem", 400, 401, 403, 404, 413, 503)
    return operation(identity, "figures", summary, text, responses, parameters=RANGE)


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
            "get": operation(
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
            "get": operation(
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


def _autoscaling() -> dict[str, Document]:
    external = f"/apis/{external_models.GROUP_VERSION}"
    others = external_models.OTHER_PARAMETERS
    return {
        "/v2/endpoint/{namespace}/{name}/autoscaling": {
            "get": operation(
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
            "get": operation(
                "listExternalMetrics",
                "autoscaling",
                "External metrics of Kubernetes",
                "Discovery of the external metrics API; it depends on nothing else.",
                answered(external_models.APIResourceList, examples.EXTERNAL_LIST) | failed("status"),
                parameters=others,
                security=ANYONE,
            )
        },
        f"{external}/namespaces/{{namespace}}/{{metric}}": {
            "get": operation(
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
        "get": operation(
            "getSession",
            "session",
            "What the page is signed in to",
            "The session of the cookie; a token is not one.",
            answered(models.Session, examples.SESSION) | failed("problem", 401, 403, 503),
            security=SESSION,
        ),
        "post": operation(
            "signIn",
            "session",
            "Sign in",
            "Exchanges a token for the page's cookie, for 12 hours or until the token is revoked.",
            answered(models.Session, examples.SESSION, more=cookie("The page's cookie"))
            | failed("problem", 400, 401, 403, 408, 413, 415, 429, 503),
            security=ANYONE,
        )
        | {"requestBody": {"required": True, "content": {JSON: body}}},
        "delete": operation(
            "signOut",
            "session",
            "Sign out",
            "Ends the session of the cookie, if there is one, and clears the cookie.",
            {"204": {"description": "Signed out", "headers": cookie("Clears the page's cookie")}}
            | failed("problem", 403, 503),
            security=ANYONE,
        ),
    }
