"""What is in Kubernetes, as states and settings to tell: the pods, workloads and scalers of one namespace put together.

It does no I/O: objects come in through its sinks, messages go out through `put`, and the clock is an argument.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from endpoint_analytics.agents.kubernetes.naming import Naming, NoNameError, Replica
from endpoint_analytics.agents.kubernetes.objects import AutoscalerObject, Pod, ScaledObject, WorkloadObject
from endpoint_analytics.agents.kubernetes.origin import Origin
from endpoint_analytics.agents.kubernetes.pod_life import Rules, Stage
from endpoint_analytics.agents.kubernetes.recall import Recalled
from endpoint_analytics.agents.kubernetes.scaling import (
    Scaler,
    Workload,
    WorkloadName,
    limits_by_endpoint,
    scaler_of_autoscaler,
    scaler_of_scaled_object,
    workload_of,
)
from endpoint_analytics.agents.kubernetes.selector import Selector
from endpoint_analytics.agents.kubernetes.told import Teller
from endpoint_analytics.agents.kubernetes.told_limits import LimitsTeller
from endpoint_analytics.agents.kubernetes.watching import Sink
from endpoint_analytics.schemas.replicas import EndpointSettings, ReplicaMessage, ReplicaState

logger = logging.getLogger("endpoint_analytics")

MAX_ENDPOINTS = 1_000
"""Endpoints that one agent tells of: those beyond are left out."""

MAX_REMEMBERED = 1_000
"""Things that were said once, so that they are not said again."""

Found = TypeVar("Found")
Kept = TypeVar("Kept")
Put = Callable[[ReplicaMessage, bytes], None]


class Watcher:
    """Of our `namespace`'s endpoints. `recalled` is what was told before; `now_us` gives the time in microseconds."""

    def __init__(
        self,
        namespace: str,
        naming: Naming,
        selector: Selector,
        rules: Rules,
        origin: Origin,
        recalled: Recalled,
        put: Put,
        now_us: Callable[[], int],
    ) -> None:
        self._namespace = namespace
        self._naming = naming
        self._selector = selector
        self._origin = origin
        self._put = put
        self._now_us = now_us
        self._teller = Teller(rules)
        self._limits = LimitsTeller()
        self._pods: dict[str, tuple[Replica, Pod]] = {}
        self._workloads: dict[WorkloadName, Workload] = {}
        self._autoscalers: dict[str, Scaler] = {}
        self._scaled_objects: dict[str, Scaler] = {}
        self._unsettled: set[str] = set()
        self._endpoints: set[str] = set()
        self._said: set[str] = set()
        self._recalled = recalled.living()
        for replica, (told, _) in recalled.replicas.items():
            self._teller.recall(replica, told)
        for endpoint, limits in recalled.limits.items():
            self._limits.recall(endpoint, limits)

    @property
    def pods(self) -> int:
        """Pods that are told of."""
        return len(self._pods)

    def pod_sink(self) -> Sink[Pod]:
        """Return where pods go."""
        return Sink(self._pods_listed, self._pod_changed, self._pod_removed, lambda: None)

    def workload_sink(self, kind: str) -> Sink[WorkloadObject]:
        """Return where workloads of a kind go."""

        def listed(found: list[WorkloadObject]) -> None:
            kept = {name: each for name, each in self._workloads.items() if name.kind != kind}
            fresh = (workload_of(kind, each) for each in found)
            self._workloads = kept | {each.name: each for each in fresh if self._is_ours(each)}
            self._tell_limits()

        def changed(found: WorkloadObject) -> None:
            workload = workload_of(kind, found)
            self._workloads.pop(workload.name, None)
            if self._is_ours(workload):
                self._workloads[workload.name] = workload
            self._tell_limits()

        def removed(found: WorkloadObject) -> None:
            self._workloads.pop(WorkloadName(kind, found.metadata.name), None)
            self._tell_limits()

        return Sink(listed, changed, removed, self._settler(kind))

    def autoscaler_sink(self) -> Sink[AutoscalerObject]:
        """Return where HorizontalPodAutoscalers go."""
        return self._scaler_sink("autoscaler", self._autoscalers, scaler_of_autoscaler, _name_of_autoscaler)

    def scaled_object_sink(self) -> Sink[ScaledObject]:
        """Return where ScaledObjects go."""
        return self._scaler_sink(
            "scaled object", self._scaled_objects, scaler_of_scaled_object, _name_of_scaled_object
        )

    def vanished(self) -> dict[Replica, str]:
        """Return the replicas that were told before and whose pods are not there, with the pods' names; after the
        first list of pods. Each is to be asked for, and then `confirm_gone`: a pod may be another selector's."""
        there = {replica for replica, _ in self._pods.values()}
        return {replica: pod for replica, pod in self._recalled.items() if replica not in there}

    def confirm_gone(self, replica: Replica) -> None:
        """The pod of a replica that was told before is no more."""
        if all(replica != each for each, _ in self._pods.values()):
            pod = self._recalled.get(replica, "")
            self._tell(
                replica, self._teller.missing(replica, self._now_us(), "gone while nobody watched"), pod
            )

    def tick(self) -> None:
        """Tell again what has lasted; to be called a few times a minute."""
        for replica, pod in self._pods.values():
            self._observe(replica, pod)

    def _pods_listed(self, found: list[Pod]) -> None:
        listed = {pod.metadata.uid for pod in found}
        for replica, pod in [each for uid, each in self._pods.items() if uid not in listed]:
            self._forget(replica, pod)
        for pod in sorted(found, key=lambda pod: (str(pod.metadata.creation_timestamp), pod.metadata.name)):
            self._pod_changed(pod)

    def _pod_changed(self, pod: Pod) -> None:
        try:
            replica = self._naming.replica_of(pod)
        except NoNameError as error:
            self._say_once(f"the pod {pod.metadata.name} is left out: {error}")
            return
        known = self._pods.get(pod.metadata.uid)
        if known is not None and known[0] != replica:  # labelled anew: another replica now
            self._forget(*known)
        if not self._may_tell(replica.endpoint):
            return
        pod = pod if known is None else _as_first_asked(pod, known[1])
        self._pods[pod.metadata.uid] = (replica, pod)
        self._observe(replica, pod)

    def _pod_removed(self, pod: Pod) -> None:
        known = self._pods.get(pod.metadata.uid)
        if known is not None:
            self._forget(known[0], _as_first_asked(pod, known[1]))

    def _observe(self, replica: Replica, pod: Pod) -> None:
        self._tell(replica, self._teller.observe(replica, pod, self._now_us()), pod.metadata.name)

    def _forget(self, replica: Replica, pod: Pod) -> None:
        self._pods.pop(pod.metadata.uid, None)
        self._tell(replica, self._teller.gone(replica, pod, self._now_us()), pod.metadata.name)

    def _tell(self, replica: Replica, stages: list[Stage], pod: str) -> None:
        for stage in stages:
            message = ReplicaState(
                namespace=self._namespace,
                endpoint=replica.endpoint,
                replica_id=replica.replica_id,
                at_us=stage.at_us,
                state=stage.state,
                reason=stage.reason,
            )
            self._put(message, self._origin.header_of(pod))

    def _is_ours(self, workload: Workload) -> bool:
        if not self._selector.fits(workload.pod_labels):
            return False
        try:
            return self._may_tell(self._naming.endpoint_of(workload.pod_labels))
        except NoNameError:
            return False

    def _may_tell(self, endpoint: str) -> bool:
        if endpoint in self._endpoints:
            return True
        if len(self._endpoints) >= MAX_ENDPOINTS:
            self._say_once(
                f"there are more than {MAX_ENDPOINTS} endpoints: others are left out, as is {endpoint}"
            )
            return False
        self._endpoints.add(endpoint)
        return True

    def _tell_limits(self) -> None:
        if self._unsettled:
            return
        workloads = [(self._naming.endpoint_of(each.pod_labels), each) for each in self._workloads.values()]
        limits = limits_by_endpoint(workloads, self._autoscalers.values(), self._scaled_objects.values())
        for endpoint, told in self._limits.observe(limits, self._now_us()).items():
            message = EndpointSettings(
                namespace=self._namespace,
                endpoint=endpoint,
                at_us=told.at_us,
                min_replicas=told.min_replicas,
                max_replicas=told.max_replicas,
            )
            self._put(message, self._origin.header_of(""))

    def _settler(self, name: str) -> Callable[[], None]:
        """Return what says that a kind is known: limits wait for all of them, or a part would be told as the whole."""
        self._unsettled.add(name)

        def settled() -> None:
            if name in self._unsettled:
                self._unsettled.remove(name)
                self._tell_limits()

        return settled

    def _scaler_sink(
        self,
        what: str,
        scalers: dict[str, Scaler],
        scaler_of: Callable[[Found], Scaler],
        name_of: Callable[[Found], str],
    ) -> Sink[Found]:
        def listed(found: list[Found]) -> None:
            scalers.clear()
            scalers.update({name_of(each): scaler_of(each) for each in found})
            self._tell_limits()

        def changed(found: Found) -> None:
            scalers[name_of(found)] = scaler_of(found)
            self._tell_limits()

        def removed(found: Found) -> None:
            scalers.pop(name_of(found), None)
            self._tell_limits()

        return Sink(listed, changed, removed, self._settler(what))

    def _say_once(self, what: str) -> None:
        if what not in self._said and len(self._said) < MAX_REMEMBERED:
            self._said.add(what)
            logger.warning("%s", what)


def _as_first_asked(pod: Pod, before: Pod) -> Pod:
    """Return the pod with its first deletion request: a later one, and the kubelet's when all has ended, moves it."""
    first = before.metadata
    if first.deletion_timestamp is None:
        return pod
    metadata = replace(
        pod.metadata,
        deletion_timestamp=first.deletion_timestamp,
        deletion_grace_period_seconds=first.deletion_grace_period_seconds,
    )
    return replace(pod, metadata=metadata)


def _name_of_autoscaler(found: AutoscalerObject) -> str:
    return found.metadata.name


def _name_of_scaled_object(found: ScaledObject) -> str:
    return found.metadata.name
