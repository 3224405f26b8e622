"""The Kubernetes external metrics API, which a HorizontalPodAutoscaler queries, backed by an endpoint's signals.

    GET /apis/external.metrics.k8s.io/v1beta1
    GET /apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}?labelSelector=endpoint=NAME

The label `endpoint` names the endpoint; `namespace` names its namespace if that differs from the path's. Errors are
`Status` objects, whose message Kubernetes shows in the autoscaler's events. They are sent quickly and without
`Retry-After`, because the caller occupies one of the few workers that all autoscalers of a cluster share. Discovery
depends on nothing else: if it failed, Kubernetes would consider the whole API unavailable, and deleted namespaces
would never finish terminating.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from endpoint_analytics.pipeline.serve.api.authorization import ApiAccess
from endpoint_analytics.pipeline.serve.api.external_models import (
    GROUP_VERSION,
    METRICS,
    OTHER_PARAMETERS,
    APIResource,
    APIResourceList,
    ExternalMetricValue,
    ExternalMetricValueList,
    ListMeta,
    quantity_text,
)
from endpoint_analytics.pipeline.serve.api.json_responses import plain_reply
from endpoint_analytics.pipeline.serve.api.query import QueryError
from endpoint_analytics.pipeline.serve.api.signals import Signals
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.identity import check_name

ANSWER_WITHIN_S = 2.0
"""Time limit for one value; after it, the value is reported as unknown."""
_LABELS = ("endpoint", "namespace")
_SELECT = "send labelSelector=endpoint=NAME, or endpoint=NAME,namespace=NAME"


async def resources(_: Request) -> Response:
    """Answer discovery: list the metrics, without authentication."""
    found = [APIResource(name, "", True, "ExternalMetricValueList", ["get"]) for name in METRICS]
    return plain_reply(APIResourceList("APIResourceList", "v1", GROUP_VERSION, found))


async def values(request: Request, access: ApiAccess, signals: Signals) -> Response:
    """Answer one metric of the endpoint that the label selector names."""
    await access.token(request)
    metric = request.path_params["metric"]
    labels = parse_selector(request.query_params.multi_items())
    namespace = labels.get("namespace", request.path_params["namespace"])
    await access.opened(request, namespace)
    if metric not in METRICS:
        raise QueryError(
            f"there is no metric {metric[:64]!r}", "path", f"use one of {', '.join(METRICS)}", 404
        )
    _named(request.path_params["namespace"], labels)
    endpoint = _named(namespace, labels)
    found, value = await signals.value(namespace, endpoint, metric)
    item = ExternalMetricValue(
        metric_name=metric,
        metric_labels={"endpoint": endpoint, "namespace": namespace},
        timestamp=found.as_of.strftime("%Y-%m-%dT%H:%M:%SZ"),
        window=METRICS[metric],
        value=quantity_text(value),
    )
    return plain_reply(ExternalMetricValueList("ExternalMetricValueList", GROUP_VERSION, ListMeta(), [item]))


def parse_selector(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the labels and values of the query string's `labelSelector`; raises QueryError.

    Only Kubernetes's equality-based selectors (`=`, `==`) are accepted: any other selector could match several
    endpoints, whose values an autoscaler would add up.
    """
    selectors = []
    for name, value in items:
        if name == "labelSelector":
            selectors.append(value)
        elif name not in OTHER_PARAMETERS:
            raise QueryError(f"there is no parameter {name[:40]!r}", f"query parameter {name[:40]}", _SELECT)
    where = "query parameter labelSelector"
    if len(selectors) != 1:
        raise QueryError(
            "labelSelector is missing" if not selectors else "labelSelector is given twice", where, _SELECT
        )
    labels: dict[str, str] = {}
    for part in selectors[0].split(","):
        label, equals, value = part.partition("=")
        label, value = label.strip(), value.removeprefix("=").strip()
        if not equals or label not in _LABELS or not value or label in labels:
            raise QueryError(f"labelSelector contains {part[:80]!r}", where, _SELECT)
        labels[label] = value
    if "endpoint" not in labels:
        raise QueryError("labelSelector has no endpoint label", where, _SELECT)
    return labels


def _named(namespace: str, labels: Mapping[str, str]) -> str:
    try:
        check_name("namespace", namespace)
        return check_name("endpoint", labels["endpoint"])
    except InvalidMessageError as error:
        raise QueryError(error.detail, "path", "use the names that the agents report", 404) from error
