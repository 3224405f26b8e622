"""Response models of the Kubernetes external metrics API, as the HorizontalPodAutoscaler controller reads them.

Members have the names of k8s.io/metrics/pkg/apis/external_metrics/v1beta1 and of meta/v1. Only models, the names of
metrics and parameters, and the format of a quantity belong here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from endpoint_analytics.pipeline.store.signals import HARDWARE_WINDOW_S, WINDOW_S

GROUP_VERSION = "external.metrics.k8s.io/v1beta1"
# Metric -> the seconds over which it is a mean.
METRICS: Mapping[str, int] = {
    "pending_requests": WINDOW_S,
    "pending_per_replica": WINDOW_S,
    "active_requests": WINDOW_S,
    "active_per_replica": WINDOW_S,
    "cpu_percent": HARDWARE_WINDOW_S,
    "memory_percent": HARDWARE_WINDOW_S,
    "gpu_percent": HARDWARE_WINDOW_S,
    "gpu_memory_percent": HARDWARE_WINDOW_S,
}
# Parameters that Kubernetes clients add to any list request; none changes the answer.
OTHER_PARAMETERS = ("limit", "timeout", "timeoutSeconds", "resourceVersion", "pretty")
Quantity = Annotated[str, Meta(description="A number in thousandths: 1250m is 1.25", pattern=r"^[0-9]+m?$")]
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    500: "InternalError",
    503: "ServiceUnavailable",
}


class APIResource(Struct, frozen=True, rename="camel"):
    """A metric, as discovery lists it."""

    name: str
    singular_name: str
    namespaced: bool
    kind: str
    verbs: list[str]


class APIResourceList(Struct, frozen=True, rename="camel"):
    """The available metrics."""

    kind: str
    api_version: str
    group_version: str
    resources: list[APIResource]


class ListMeta(Struct, frozen=True):
    """List metadata; always empty."""


class ExternalMetricValue(Struct, frozen=True, rename="camel"):
    """One value, with its time and the seconds that it covers."""

    metric_name: str
    metric_labels: dict[str, str]
    timestamp: Annotated[str, Meta(description="RFC 3339")]
    window: int
    value: Quantity


class ExternalMetricValueList(Struct, frozen=True, rename="camel"):
    """The value of one metric of one endpoint."""

    kind: str
    api_version: str
    metadata: ListMeta
    items: list[ExternalMetricValue]


class Status(Struct, frozen=True, rename="camel"):
    """Why there is no answer, in Kubernetes's format."""

    kind: str
    api_version: str
    metadata: ListMeta
    status: str
    message: str
    reason: str
    code: int

    @classmethod
    def of(cls, code: int, message: str) -> Status:
        """Return a failure with this HTTP status."""
        return cls("Status", "v1", ListMeta(), "Failure", message, _REASONS.get(code, ""), code)


def quantity_text(value: float) -> str:
    """Return a non-negative number as a Kubernetes quantity: whole, or rounded to thousandths."""
    thousandths = int(value * 1000 + 0.5)
    whole, rest = divmod(thousandths, 1000)
    return f"{thousandths}m" if rest else str(whole)
