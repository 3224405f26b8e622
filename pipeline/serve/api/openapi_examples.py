"""One example of each answer for the OpenAPI document, built from the models. Only data."""

from __future__ import annotations

from endpoint_analytics.pipeline.exposition import openmetrics
from endpoint_analytics.pipeline.exposition.families import Sample, family_of
from endpoint_analytics.pipeline.serve.api.discovery import TargetGroup, target_groups
from endpoint_analytics.pipeline.serve.api.external_models import (
    GROUP_VERSION,
    METRICS,
    APIResource,
    APIResourceList,
    ExternalMetricValue,
    ExternalMetricValueList,
    ListMeta,
)
from endpoint_analytics.pipeline.serve.api.models import (
    AbortedShare,
    Answer,
    Autoscaling,
    ClassCount,
    Distribution,
    EndpointCard,
    Endpoints,
    Namespaces,
    ReplicaLoad,
    Series,
    Session,
    SignIn,
    Spark,
    Summary,
)
from endpoint_analytics.pipeline.serve.scrape.scrapes import ENDPOINT_LABELS
from endpoint_analytics.pipeline.store.scope import Key
from endpoint_analytics.schemas.metrics import HTTP_REQUESTS, Family
from endpoint_analytics.schemas.service_metrics import SERVICE_REQUESTS

_AT_S = 1_767_323_880

NAMESPACES = Namespaces(["acme"])
SESSION = Session(namespaces=["acme"], all=False, expires_at=_AT_S + 43_200.0)
SIGN_IN = SignIn("eat_0123456789abcdef")
TARGETS: list[TargetGroup] = target_groups([Key("acme", "llm")], "metrics.example.org:8000")
ENDPOINTS = Endpoints(
    namespace="acme",
    step=60,
    over_seconds=300,
    at=[_AT_S - 60, _AT_S],
    endpoints=[
        EndpointCard(
            endpoint="llm",
            running=2,
            replicas=3,
            unknown_since=None,
            min_replicas=1,
            max_replicas=4,
            request_rate=12.4,
            error_share=0.002,
            p95_seconds=0.06,
            pending=3,
            newest_at=_AT_S - 3.8,
            spark=Spark(requests=[744, None], errors=[1, None], p95=[0.06, None], pending=[2.5, None]),
        )
    ],
    paused=[],
)
_LATENCY = Distribution(count=1197, mean=0.031, p50=0.028, p90=0.05, p95=0.06, p99=0.11, max=0.4)
ANSWER = Answer(
    namespace="acme",
    endpoint="llm",
    from_=_AT_S - 120,
    to=_AT_S,
    step=60,
    level=60,
    at=[_AT_S - 120, _AT_S - 60],
    incomplete_from=_AT_S - 60,
    newest_at=_AT_S - 3.8,
    series=[
        Series("requests", "2xx", "requests", [744, 444]),
        Series("latency", "p95", "seconds", [0.06, 0.061]),
    ],
    summary=Summary(
        covered=True,
        arrived=1203,
        final=1200,
        informational=0,
        classes=[ClassCount("2xx", 1188, 0.99), ClassCount("5xx", 12, 0.01)],
        statuses={"200": 1188, "500": 12},
        aborted=AbortedShare(count=3, before_status=1, share=0.0025),
        latency=_LATENCY,
        ttfb=_LATENCY,
        pending_mean=1.2,
        pending_max=9,
        oldest_pending=0.8,
    ),
)
AUTOSCALING = Autoscaling(
    namespace="acme",
    endpoint="llm",
    as_of=_AT_S - 1.2,
    age_seconds=1.2,
    window_seconds=20,
    hardware_window_seconds=60,
    running_replicas=2,
    late_replicas=0,
    silent_replicas=0,
    pending_requests=3.5,
    pending_per_replica=1.75,
    active_requests=6.0,
    active_per_replica=3.0,
    cpu_percent=62.5,
    memory_percent=40.0,
    gpu_percent=None,
    gpu_memory_percent=None,
    replicas=[ReplicaLoad("llm-7d9fc5b8-x2x9q", "running", _AT_S - 1.2, 3.5, 2.0, 85.0, 41.0, None, None)],
)
EXTERNAL_LIST = APIResourceList(
    "APIResourceList",
    "v1",
    GROUP_VERSION,
    [APIResource(name, "", True, "ExternalMetricValueList", ["get"]) for name in METRICS],
)
EXTERNAL_VALUE = ExternalMetricValueList(
    "ExternalMetricValueList",
    GROUP_VERSION,
    ListMeta(),
    [
        ExternalMetricValue(
            metric_name="pending_per_replica",
            metric_labels={"endpoint": "llm", "namespace": "acme"},
            timestamp="2026-01-02T03:18:00Z",
            window=20,
            value="1750m",
        )
    ],
)


def _requests(family: Family, *labels: tuple[str, str]) -> str:
    text = openmetrics.render([family_of(family, [Sample("_total", labels, 1188)])])
    return text.decode().removesuffix("# EOF\n")


OF_ONE = _requests(HTTP_REQUESTS, ("status_code", "200"), ("replica_id", "r1"))
OF_SEVERAL = _requests(
    HTTP_REQUESTS,
    *zip(ENDPOINT_LABELS, ("acme", "llm"), strict=True),
    ("status_code", "200"),
    ("replica_id", "r1"),
)
OF_THE_SERVICE = _requests(SERVICE_REQUESTS, ("route", "open_metrics"), ("status_code", "200"))
