"""The OpenAPI 3.1 document of the whole HTTP interface: every path, with its parameters, answers and who may ask.

Only its assembly: paths are in `openapi_figures` and `openapi_scraping`, the schemas of bodies in `models`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from endpoint_analytics.pipeline.serve.api import external_models, models
from endpoint_analytics.pipeline.serve.api.discovery import TargetGroup
from endpoint_analytics.pipeline.serve.api.openapi_figures import figure_paths
from endpoint_analytics.pipeline.serve.api.openapi_operation import TOKEN_OR_SESSION
from endpoint_analytics.pipeline.serve.api.openapi_parameters import PARAMETERS
from endpoint_analytics.pipeline.serve.api.openapi_responses import REF, error_components
from endpoint_analytics.pipeline.serve.api.openapi_scraping import scraping_paths

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


def openapi_document(version: str) -> dict[str, Any]:
    """Return the document for this version of the package."""
    _, schemas = msgspec.json.schema_components(_MODELS, ref_template=REF)
    paths = figure_paths() | scraping_paths()
    return {
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
        "security": TOKEN_OR_SESSION,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": PARAMETERS,
            "responses": error_components(paths),
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
