"""The minimum and maximum replicas of each endpoint, from workloads and their scalers. Pure.

A ScaledObject takes precedence over a HorizontalPodAutoscaler (KEDA creates one for each), and that over the workload's
own number. The workloads of one endpoint add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from endpoint_analytics.agents.kubernetes.objects import (
    AutoscalerObject,
    ScaledObject,
    SpecMetadata,
    WorkloadObject,
)
from endpoint_analytics.agents.kubernetes.stage import second_us
from endpoint_analytics.schemas.limits import MAX_REPLICAS

PAUSED, PAUSED_REPLICAS = "autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas"
NOT_PAUSED = frozenset({"0", "f", "F", "false", "FALSE", "False"})
"""KEDA parses the annotation as a Go bool, and pauses if it is not one."""
KEDA_MIN, KEDA_MAX = 0, 100
"""KEDA's defaults for a ScaledObject."""


class WorkloadName(NamedTuple):
    """A workload of the watched Kubernetes namespace."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """The minimum and maximum replicas, requested at `at_us` (None: the server does not say when)."""

    min_replicas: int
    max_replicas: int
    at_us: int | None


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or StatefulSet: its pods' labels, and how many it requests."""

    name: WorkloadName
    pod_labels: Mapping[str, str]
    replicas: int
    at_us: int | None

    @property
    def limits(self) -> ReplicaLimits:
        """Return the requested number as both limits."""
        return ReplicaLimits(self.replicas, self.replicas, self.at_us)


@dataclass(frozen=True, slots=True)
class Scaler:
    """What scales a workload. `limits` is None for a paused scaler, which leaves the workload alone."""

    target: WorkloadName
    limits: ReplicaLimits | None


def workload_of(kind: str, found: WorkloadObject) -> Workload:
    """Return the workload; the API's default is one replica."""
    spec = found.spec
    replicas = 1 if spec.replicas is None else spec.replicas
    labels = spec.template.metadata.labels or {}
    at_us = requested_us(found.metadata, "replicas")
    return Workload(WorkloadName(kind, found.metadata.name), labels, _bounded(replicas), at_us)


def scaler_of_autoscaler(found: AutoscalerObject) -> Scaler:
    """Return the scaler of a HorizontalPodAutoscaler; its default minimum is 1."""
    spec = found.spec
    least = 1 if spec.min_replicas is None else spec.min_replicas
    at_us = requested_us(found.metadata, "minReplicas", "maxReplicas")
    target = spec.scale_target_ref
    return Scaler(WorkloadName(target.kind, target.name), _limits(least, spec.max_replicas, at_us))


def scaler_of_scaled_object(found: ScaledObject) -> Scaler:
    """Return the scaler of a ScaledObject: 0 to 100 by default, a single number while it is paused."""
    spec, annotations = found.spec, found.metadata.annotations or {}
    target = WorkloadName(spec.scale_target_ref.kind or "Deployment", spec.scale_target_ref.name)
    least = KEDA_MIN if spec.min_replica_count is None else spec.min_replica_count
    if spec.idle_replica_count is not None:
        least = min(least, spec.idle_replica_count)
    most = KEDA_MAX if spec.max_replica_count is None else spec.max_replica_count
    names = ("minReplicaCount", "maxReplicaCount", "idleReplicaCount", PAUSED, PAUSED_REPLICAS)
    at_us = requested_us(found.metadata, *names)
    paused = annotations.get(PAUSED_REPLICAS, "")
    if paused.isdecimal():
        return Scaler(target, _limits(int(paused), int(paused), at_us))
    if annotations.get(PAUSED, "false") not in NOT_PAUSED:
        return Scaler(target, None)
    return Scaler(target, _limits(least, most, at_us))


def limits_by_endpoint(
    workloads: Iterable[tuple[str, Workload]], autoscalers: Iterable[Scaler], scaled_objects: Iterable[Scaler]
) -> dict[str, ReplicaLimits]:
    """Return the limits of each endpoint; `workloads` are paired with their endpoints."""
    autoscaler_of = {scaler.target: scaler for scaler in autoscalers}
    scaled_object_of = {scaler.target: scaler for scaler in scaled_objects}
    found: dict[str, ReplicaLimits] = {}
    for endpoint, workload in workloads:
        name = workload.name
        limits = _active(workload, autoscaler_of.get(name), scaled_object_of.get(name))
        found[endpoint] = limits if endpoint not in found else _sum(found[endpoint], limits)
    return found


def _active(workload: Workload, autoscaler: Scaler | None, scaled_object: Scaler | None) -> ReplicaLimits:
    if scaled_object is not None:
        return scaled_object.limits or workload.limits
    if autoscaler is None or autoscaler.limits is None:
        return workload.limits
    # An autoscaler ignores a workload that was scaled to zero, unless zero is its own minimum.
    is_off = workload.replicas == 0 < autoscaler.limits.min_replicas
    return workload.limits if is_off else autoscaler.limits


def requested_us(metadata: SpecMetadata, *names: str) -> int | None:
    """Return when one of these members was last written, in microseconds, according to `managedFields`.

    None if unknown: for an object without `managedFields`, which may have changed since its creation, and for writes
    through the scale subresource (`kubectl scale`, autoscalers), which are recorded without a time.
    """
    writers = metadata.managed_fields
    if not writers:
        return None
    wanted = [f'"f:{name}"'.encode() for name in names]
    wrote = [
        each
        for each in writers
        if each.subresource != "status" and any(name in bytes(each.fields) for name in wanted)
    ]
    times = [each.time for each in wrote if each.time is not None]
    if len(times) < len(wrote):
        return None
    moment = max(times, default=metadata.creation_timestamp)
    return None if moment is None else second_us(moment)


def _sum(one: ReplicaLimits, other: ReplicaLimits) -> ReplicaLimits:
    at_us = None if one.at_us is None or other.at_us is None else max(one.at_us, other.at_us)
    return _limits(one.min_replicas + other.min_replicas, one.max_replicas + other.max_replicas, at_us)


def _limits(least: int, most: int, at_us: int | None) -> ReplicaLimits:
    most = _bounded(most)
    return ReplicaLimits(min(_bounded(least), most), most, at_us)


def _bounded(number: int) -> int:
    return max(0, min(number, MAX_REPLICAS))
