"""What we read of the Kubernetes API's objects: frozen structs with the API's own names, decoded from its JSON.

Only shapes belong here. Members that we do not use are passed over; what the API may leave out has its default.
Source: the API reference of Kubernetes (core/v1, apps/v1, autoscaling/v2) and of KEDA (keda.sh/v1alpha1).
"""

from __future__ import annotations

from datetime import datetime

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
"""What decoding raises for what is not of these shapes; the second for words that are no UTF-8."""


class _Read(msgspec.Struct, frozen=True, rename="camel"):
    """A part of an object."""


class Owned(_Read, frozen=True):
    """Whatever is owned: that it is."""


class OwnedMetadata(msgspec.Struct, frozen=True):
    """The labels that an entry of `managedFields` tells of, each as `f:KEY`."""

    labels: dict[str, Owned] | None = msgspec.field(default=None, name="f:labels")


class OwnedFields(msgspec.Struct, frozen=True):
    """The members that an entry of `managedFields` tells of."""

    metadata: OwnedMetadata = msgspec.field(default=OwnedMetadata(), name="f:metadata")
    spec: Owned | None = msgspec.field(default=None, name="f:spec")


class Writer(_Read, frozen=True):
    """Who wrote fields of the object, and when last: an entry of `managedFields`."""

    time: datetime | None = None
    subresource: str = ""
    fields: OwnedFields = msgspec.field(default=OwnedFields(), name="fieldsV1")


class Metadata(_Read, frozen=True):
    """Of a pod. `deletion_timestamp` is the request to delete it and its grace period, added up."""

    name: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None
    managed_fields: tuple[Writer, ...] | None = None


class Condition(_Read, frozen=True):
    """A condition of a pod; `status` is True, False or Unknown."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class Waiting(_Read, frozen=True):
    """Why a container does not run yet, or not again yet. The API gives it no time."""

    reason: str = ""
    message: str = ""


class Running(_Read, frozen=True):
    """A container runs."""

    started_at: datetime | None = None


class Ended(_Read, frozen=True):
    """A container has ended."""

    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None


class ContainerState(_Read, frozen=True):
    """One of three, or none of them, which means waiting."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Ended | None = None


class ContainerStatus(_Read, frozen=True):
    """A container as the kubelet last saw it; `last_state` is how its run before ended."""

    name: str
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class Container(_Read, frozen=True):
    """A container as it was asked for. An init container that always restarts is a sidecar."""

    name: str
    restart_policy: str = ""


class PodSpec(_Read, frozen=True):
    """What was asked for."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()


class PodStatus(_Read, frozen=True):
    """What is. `start_time` is when the kubelet took the pod on, before any image was pulled."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    start_time: datetime | None = None
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(_Read, frozen=True):
    """core/v1 Pod."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class SpecWriter(_Read, frozen=True):
    """An entry of `managedFields` with the fields it tells of, not decoded."""

    time: datetime | None = None
    subresource: str = ""
    fields: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"), name="fieldsV1")


class SpecMetadata(_Read, frozen=True):
    """Of an object whose settings count."""

    name: str = ""
    annotations: dict[str, str] | None = None
    creation_timestamp: datetime | None = None
    managed_fields: tuple[SpecWriter, ...] | None = None


class TemplateMetadata(_Read, frozen=True):
    """Of the pods that a workload makes."""

    labels: dict[str, str] | None = None


class Template(_Read, frozen=True):
    """How a workload makes its pods."""

    metadata: TemplateMetadata = TemplateMetadata()


class WorkloadSpec(_Read, frozen=True):
    """What was asked of a workload."""

    replicas: int | None = None
    template: Template = Template()


class WorkloadObject(_Read, frozen=True):
    """apps/v1 Deployment or StatefulSet."""

    metadata: SpecMetadata
    spec: WorkloadSpec = WorkloadSpec()


class ScaleTarget(_Read, frozen=True):
    """What is scaled; KEDA takes a Deployment when no kind is given."""

    name: str = ""
    kind: str = "Deployment"


class AutoscalerSpec(_Read, frozen=True):
    """Of a HorizontalPodAutoscaler."""

    scale_target_ref: ScaleTarget = ScaleTarget()
    min_replicas: int | None = None
    max_replicas: int = 0


class AutoscalerObject(_Read, frozen=True):
    """autoscaling/v2 HorizontalPodAutoscaler."""

    metadata: SpecMetadata
    spec: AutoscalerSpec = AutoscalerSpec()


class ScaledObjectSpec(_Read, frozen=True):
    """Of a ScaledObject."""

    scale_target_ref: ScaleTarget = ScaleTarget()
    min_replica_count: int | None = None
    max_replica_count: int | None = None
    idle_replica_count: int | None = None


class ScaledObject(_Read, frozen=True):
    """keda.sh/v1alpha1 ScaledObject."""

    metadata: SpecMetadata
    spec: ScaledObjectSpec = ScaledObjectSpec()


class ListMetadata(_Read, frozen=True):
    """As of which version a list or an object is; which object it is, or where a list goes on."""

    resource_version: str = ""
    uid: str = ""
    next: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, frozen=True):
    """A list, or a part of it; its objects are decoded one by one, so that a bad one is left out alone."""

    metadata: ListMetadata
    items: tuple[msgspec.Raw, ...] | None = None


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, and an object that depends on it."""

    type: str
    object: msgspec.Raw


class Versioned(msgspec.Struct, frozen=True):
    """Any object, of which only the version counts: that of a BOOKMARK has nothing else."""

    metadata: ListMetadata


class Status(_Read, frozen=True):
    """The object of an ERROR, and the body of an answer that is one."""

    code: int = 0
    reason: str = ""
    message: str = ""
