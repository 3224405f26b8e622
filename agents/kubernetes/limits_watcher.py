"""The workloads and scalers of one namespace put together, as the limits of its endpoints. It does no I/O: objects
come in through its sinks, messages go out through `put`, and the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from endpoint_analytics.agents.kubernetes.endpoints import Endpoints
from endpoint_analytics.agents.kubernetes.naming import NoNameError
from endpoint_analytics.agents.kubernetes.objects import AutoscalerObject, ScaledObject, WorkloadObject
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
from endpoint_analytics.agents.kubernetes.told_limits import LimitsTeller, ToldLimits
from endpoint_analytics.agents.kubernetes.watching import Sink
from endpoint_analytics.schemas.replicas import EndpointSettings

Found = TypeVar("Found")


class LimitsWatcher:
    """Of the workloads whose pods `selector` fits. `recalled` is what was told before; `now_us` gives the time in
    microseconds."""

    def __init__(
        self,
        endpoints: Endpoints,
        selector: Selector,
        recalled: Mapping[str, ToldLimits],
        put: Callable[[EndpointSettings], None],
        now_us: Callable[[], int],
    ) -> None:
        self._endpoints = endpoints
        self._selector = selector
        self._put = put
        self._now_us = now_us
        self._limits = LimitsTeller()
        self._workloads: dict[WorkloadName, Workload] = {}
        self._autoscalers: dict[str, Scaler] = {}
        self._scaled_objects: dict[str, Scaler] = {}
        self._unsettled: set[str] = set()
        for endpoint, limits in recalled.items():
            self._limits.recall(endpoint, limits)

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

    def _is_ours(self, workload: Workload) -> bool:
        if not self._selector.fits(workload.pod_labels):
            return False
        try:
            return self._endpoints.admit(self._endpoints.naming.endpoint_of(workload.pod_labels))
        except NoNameError:
            return False

    def _tell_limits(self) -> None:
        if self._unsettled:
            return
        workloads = [
            (self._endpoints.naming.endpoint_of(each.pod_labels), each) for each in self._workloads.values()
        ]
        limits = limits_by_endpoint(workloads, self._autoscalers.values(), self._scaled_objects.values())
        for endpoint, told in self._limits.observe(limits, self._now_us()).items():
            message = EndpointSettings(
                namespace=self._endpoints.namespace,
                endpoint=endpoint,
                at_us=told.at_us,
                min_replicas=told.min_replicas,
                max_replicas=told.max_replicas,
            )
            self._put(message)

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


def _name_of_autoscaler(found: AutoscalerObject) -> str:
    return found.metadata.name


def _name_of_scaled_object(found: ScaledObject) -> str:
    return found.metadata.name
