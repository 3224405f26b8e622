"""The paths of scrapers and probes in the OpenAPI document: open-metrics, discovery, the service itself. Only data."""

from __future__ import annotations

from collections.abc import Sequence

from endpoint_analytics.pipeline.serve.api import openapi_examples as examples
from endpoint_analytics.pipeline.serve.api.discovery import TargetGroup
from endpoint_analytics.pipeline.serve.api.openapi_operation import ANYONE, OPTIONAL_TOKEN, TOKEN, operation
from endpoint_analytics.pipeline.serve.api.openapi_parameters import ONE_SELECTION, SELECTION
from endpoint_analytics.pipeline.serve.api.openapi_responses import (
    NOT_MODIFIED,
    Document,
    answered_line,
    answered_list,
    answered_object,
    exposed,
    failed,
)


def scraping_paths() -> dict[str, Document]:
    """Return the paths with what each answers."""
    return _scraping() | _service()


def _scrape(identity: str, summary: str, text: str, example: str, parameters: Sequence[str]) -> Document:
    responses = exposed(text, example) | failed("text", 400, 401, 403, 404, 503)
    return operation(
        identity, "scraping", summary, f"{text}.", responses, parameters=parameters, security=TOKEN
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
            "get": operation(
                "discoverNamespaceTargets",
                "scraping",
                "Scrape targets of a namespace",
                "The endpoints as targets for Prometheus's `http_sd_configs`, at the address of the request's Host.",
                targets | failed("problem", 400, 401, 403, 404, 503),
                parameters=("namespace",),
            )
        },
        "/v2/http-sd": {
            "get": operation(
                "discoverTargets",
                "scraping",
                "Scrape targets",
                "The same for all endpoints that the token grants access to.",
                targets | failed("problem", 400, 401, 403, 503),
            )
        },
    }


def _service() -> dict[str, Document]:
    return {
        "/health": {
            "get": operation(
                "getHealth",
                "service",
                "Liveness",
                "The process runs.",
                answered_line("It runs", "ok") | failed("text"),
                security=ANYONE,
            )
        },
        "/ready": {
            "get": operation(
                "getReadiness",
                "service",
                "Readiness",
                "ClickHouse responds and has the expected tables. Clients on the same machine see why not.",
                answered_line("It can answer", "ready") | failed("text", 503),
                security=ANYONE,
            )
        },
        "/metrics": {
            "get": operation(
                "scrapeService",
                "service",
                "Metrics of the service",
                "Open to clients on the same machine; others need a token for all namespaces.",
                exposed("Metrics of the query service itself", examples.OF_THE_SERVICE)
                | failed("text", 401, 403, 503),
                security=OPTIONAL_TOKEN,
            )
        },
        "/openapi.json": {
            "get": operation(
                "getOpenApi",
                "service",
                "This document",
                "The OpenAPI document of this version.",
                answered_object("The document") | NOT_MODIFIED | failed("problem"),
                security=ANYONE,
            )
        },
    }
