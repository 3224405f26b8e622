"""Why spans are rejected: each reason's name, as it is counted, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "no_namespace": "the resource has no service.namespace: set it in OTEL_RESOURCE_ATTRIBUTES, or start the receiver "
    "with --namespace",
    "no_endpoint": "the resource has no service.name: set OTEL_SERVICE_NAME, or start the receiver with --endpoint",
    "no_replica": "the resource has no service.instance.id, k8s.pod.name or host.name: set one of them in "
    "OTEL_RESOURCE_ATTRIBUTES, or start the receiver with --replica-id",
    "bad_name": "service.namespace or service.name is not 1 to 128 letters, digits, '.', '_' or '-'",
    "too_many_replicas": "the receiver knows as many replicas of the namespace as it may (--max-namespace-replicas): "
    "is service.instance.id new for every request?",
    "too_many_replicas_in_all": "the receiver knows as many replicas as it may (--max-replicas)",
    "no_ids": "the span has no trace id of 16 bytes or no span id of 8 bytes",
    "no_end": "the span has no end time",
    "too_old": "the span ended more than 47 hours ago",
}


def explain(rejected: Mapping[str, int]) -> str:
    """Return one text for all rejections: how many, why, and what to do."""
    return "; ".join(f"{number} {reason}: {REASONS[reason]}" for reason, number in sorted(rejected.items()))
