"""The parts of Kubernetes API objects that are read: frozen structs with the API's own names, decoded from JSON.

Only models belong here. Unused members are skipped; members that the API may omit have defaults.
Source: the API reference of Kubernetes (core/v1, apps/v1, autoscaling/v2) and of KEDA (keda.sh/v1alpha1).
"""

from __future__ import annotations

from datetime import datetime

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
"""Raised when decoding data that does not fit these models; the second for invalid UTF-8."""


class _Read(msgspec.Struct, frozen=True, rename="camel"):
    """A part of an object."""


class Owned(_Read, frozen=True):
    """A field that is owned; only its presence matters."""


class OwnedMetadata(msgspec.Struct, frozen=True):
    """The labels in an entry of `managedFields`, each as `f:KEY`."""

    labels: dict[str, Owned] | None = msgspec.field(default=None, name="f:labels")


class OwnedFields(msgspec.Struct, frozen=True):
    """The members in an entry of `managedFields`."""

    metadata: OwnedMetadata = msgspec.field(default=OwnedMetadata(), name="f:metadata")
    spec: Owned | None = msgspec.field(default=None, name="f:spec")


class Writer(_Read, frozen=True):
    """An entry of `managedFields`: which fields a writer wrote, and when last."""

    time: datetime | None = None
    subresource: str = ""
    fields: OwnedFields = msgspec.field(default=OwnedFields(), name="fieldsV1")


class Metadata(_Read, frozen=True):
    """A pod's metadata. `deletion_timestamp` is the time of the deletion request plus the grace period."""

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
    """Why a container is not running yet, or not running again yet. The API gives no time for it."""

    reason: str = ""
    message: str = ""


class RunningState(_Read, frozen=True):
    """A running container."""

    started_at: datetime | None = None


class Ended(_Read, frozen=True):
    """A terminated container."""

    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None


class ContainerState(_Read, frozen=True):
    """One of the three; none of them means waiting."""

    waiting: Waiting | None = None
    running: RunningState | None = None
    terminated: Ended | None = None


class ContainerStatus(_Read, frozen=True):
    """A container as the kubelet last saw it; `last_state` is how its previous run ended."""

    name: str
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class Container(_Read, frozen=True):
    """A container's spec. An init container that always restarts is a sidecar."""

    name: str
    restart_policy: str = ""


class PodSpec(_Read, frozen=True):
    """A pod's desired state."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()


class PodStatus(_Read, frozen=True):
    """A pod's actual state. `start_time` is when the kubelet accepted the pod, before pulling any image."""

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
    """An entry of `managedFields`, with its fields undecoded."""

    time: datetime | None = None
    subresource: str = ""
    fields: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"), name="fieldsV1")


class SpecMetadata(_Read, frozen=True):
    """Metadata of an object whose settings matter."""

    name: str = ""
    annotations: dict[str, str] | None = None
    creation_timestamp: datetime | None = None
    managed_fields: tuple[SpecWriter, ...] | None = None


class TemplateMetadata(_Read, frozen=True):
    """Metadata of the pods that a workload creates."""

    labels: dict[str, str] | None = None


class Template(_Read, frozen=True):
    """A workload's pod template."""

    metadata: TemplateMetadata = TemplateMetadata()


class WorkloadSpec(_Read, frozen=True):
    """A workload's desired state."""

    replicas: int | None = None
    template: Template = Template()


class WorkloadObject(_Read, frozen=True):
    """apps/v1 Deployment or StatefulSet."""

    metadata: SpecMetadata
    spec: WorkloadSpec = WorkloadSpec()


class ScaleTarget(_Read, frozen=True):
    """What is scaled; KEDA defaults to a Deployment."""

    name: str = ""
    kind: str = "Deployment"


class AutoscalerSpec(_Read, frozen=True):
    """A HorizontalPodAutoscaler's spec."""

    scale_target_ref: ScaleTarget = ScaleTarget()
    min_replicas: int | None = None
    max_replicas: int = 0


class AutoscalerObject(_Read, frozen=True):
    """autoscaling/v2 HorizontalPodAutoscaler."""

    metadata: SpecMetadata
    spec: AutoscalerSpec = AutoscalerSpec()


class ScaledObjectSpec(_Read, frozen=True):
    """A ScaledObject's spec."""

    scale_target_ref: ScaleTarget = ScaleTarget()
    min_replica_count: int | None = None
    max_replica_count: int | None = None
    idle_replica_count: int | None = None


class ScaledObject(_Read, frozen=True):
    """keda.sh/v1alpha1 ScaledObject."""

    metadata: SpecMetadata
    spec: ScaledObjectSpec = ScaledObjectSpec()


class ListMetadata(_Read, frozen=True):
    """The version of a list or object; the object's uid, or where the list continues."""

    resource_version: str = ""
    uid: str = ""
    next: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, frozen=True):
    """A list or a page of one; its objects are decoded one by one, so that only a malformed one is left out."""

    metadata: ListMetadata
    items: tuple[msgspec.Raw, ...] | None = None


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, and an object whose type depends on it."""

    type: str
    object: msgspec.Raw


class Versioned(msgspec.Struct, frozen=True):
    """Any object, decoded only for its version and uid: a BOOKMARK's object has nothing else."""

    metadata: ListMetadata


class ObjectStatus(_Read, frozen=True):
    """The object of an ERROR event, and the body of an error response."""

    code: int = 0
    reason: str = ""
    message: str = ""
