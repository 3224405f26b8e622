"""Workloads and scalers as an API server gives them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.agents.kubernetes.pods import T0, stamp

Json = dict[str, Any]
SCALED: Json = {
    "manager": "kubectl",
    "operation": "Update",
    "apiVersion": "apps/v1",
    "fieldsType": "FieldsV1",
    "fieldsV1": {"f:spec": {"f:replicas": {}}},
    "subresource": "scale",
}
"""How `kubectl scale` is recorded: without a time."""


def _metadata(
    name: str, begin: datetime, written: float, spec_fields: Json, annotations: dict[str, str]
) -> Json:
    written_at = stamp(begin + timedelta(seconds=written))
    return {
        "name": name,
        "namespace": "models",
        "uid": f"uid-of-{name}",
        "resourceVersion": "1",
        "creationTimestamp": stamp(begin),
        "annotations": annotations,
        "managedFields": [
            {"manager": "kubectl-client-side-apply", "operation": "Update", "time": written_at,
             "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": spec_fields}},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
             "time": stamp(begin + timedelta(seconds=written + 500)), "fieldsType": "FieldsV1",
             "fieldsV1": {"f:status": {"f:replicas": {}, "f:conditions": {}}}},
        ],
    }  # fmt: skip


def deployment(
    name: str,
    replicas: int,
    *,
    labels: dict[str, str] | None = None,
    written: float = 0,
    begin: datetime = T0,
) -> Json:
    labels = {"app": "llm", **(labels or {})}
    return {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": _metadata(name, begin, written, {"f:replicas": {}, "f:template": {}}, {}),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"creationTimestamp": None, "labels": labels},
                "spec": {"containers": [{"name": "server", "image": "registry.example/llm:7"}]},
            },
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        },
        "status": {"observedGeneration": 1, "replicas": replicas, "readyReplicas": replicas},
    }


def autoscaler(
    target: str, least: int | None, most: int, *, name: str = "", written: float = 0, begin: datetime = T0
) -> Json:
    bounds = {"maxReplicas": most} | ({} if least is None else {"minReplicas": least})
    return {
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v2",
        "metadata": _metadata(name or target, begin, written, {"f:maxReplicas": {}, "f:minReplicas": {}}, {}),
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": target, "apiVersion": "apps/v1"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}],
            **bounds,
        },
        "status": {"currentReplicas": 1, "desiredReplicas": 1, "conditions": []},
    }


def scaled_object(
    target: str,
    least: int | None,
    most: int | None,
    *,
    idle: int | None = None,
    annotations: dict[str, str] | None = None,
    written: float = 0,
    begin: datetime = T0,
) -> Json:
    bounds = {"minReplicaCount": least, "maxReplicaCount": most, "idleReplicaCount": idle}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": _metadata(target, begin, written, {"f:maxReplicaCount": {}}, annotations or {}),
        "spec": {
            "scaleTargetRef": {"name": target},
            "triggers": [
                {"type": "metrics-api", "metadata": {"url": "http://serve/x", "valueLocation": "value"}}
            ],
            **{name: value for name, value in bounds.items() if value is not None},
        },
        "status": {"scaleTargetKind": "apps/v1.Deployment"},
    }
