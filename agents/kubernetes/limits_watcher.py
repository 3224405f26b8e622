"""Combines the workloads and scalers of one namespace into the limits of its endpoints. It does no I/O: objects come in
through its sinks, messages go out through `put`, and the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from endpoint_analytics.agents.kubernetes.endpoints import KnownEndpoints
from endpoint_analytics.agents.kubernetes.naming import NoNameError
from endpoint_analytics.agents.kubernetes.objects import AutoscalerObject, ScaledObject, WorkloadObject
from endpoint_analytics.agents.kubernetes.reported_limits import LimitsReporter, ReportedLimits
from endpoint_analytics.agents.kubernetes.scaling import (
    Scaler,
    Workload,
    limits_by_endpoint,
    scaler_of_autoscaler,
    scaler_of_scaled_object,
    workload_of,
)
from endpoint_analytics.agents.kubernetes.selector import Selector
from endpoint_analytics.agents.kubernetes.watching import Sink
from endpoint_analytics.schemas.replicas import EndpointSettings

Found = TypeVar("Found", WorkloadObject, AutoscalerObject, ScaledObject)
Kept = TypeVar("Kept", Workload, Scaler)


class LimitsWatcher:
    """Watches the workloads whose pods match `selector`.

    `recalled` is what was reported before; `now_us` returns the time in microseconds.
    """

    def __init__(
        self,
        endpoints: KnownEndpoints,
        selector: Selector,
        recalled: Mapping[str, ReportedLimits],
        put: Callable[[EndpointSettings], None],
        now_us: Callable[[], int],
    ) -> None:
        self._endpoints = endpoints
        self._selector = selector
        self._put = put
        self._now_us = now_us
        self._limits = LimitsReporter()
        self._workloads: dict[str, dict[str, Workload]] = {}
        self._autoscalers: dict[str, Scaler] = {}
        self._scaled_objects: dict[str, Scaler] = {}
        self._unsettled: set[str] = set()
        for endpoint, limits in recalled.items():
            self._limits.recall(endpoint, limits)

    def workload_sink(self, kind: str) -> Sink[WorkloadObject]:
        """Return the sink for workloads of a kind."""

        def ours(found: WorkloadObject) -> Workload | None:
            workload = workload_of(kind, found)
            return workload if self._is_ours(workload) else None

        return self._sink(kind, self._workloads.setdefault(kind, {}), ours)

    def autoscaler_sink(self) -> Sink[AutoscalerObject]:
        """Return the sink for HorizontalPodAutoscalers."""
        return self._sink("autoscaler", self._autoscalers, scaler_of_autoscaler)

    def scaled_object_sink(self) -> Sink[ScaledObject]:
        """Return the sink for ScaledObjects."""
        return self._sink("scaled object", self._scaled_objects, scaler_of_scaled_object)

    def _is_ours(self, workload: Workload) -> bool:
        if not self._selector.fits(workload.pod_labels):
            return False
        try:
            return self._endpoints.admit(self._endpoints.naming.endpoint_of(workload.pod_labels))
        except NoNameError:
            return False

    def _report_limits(self) -> None:
        if self._unsettled:
            return
        endpoint_of = self._endpoints.naming.endpoint_of
        workloads = [
            (endpoint_of(each.pod_labels), each)
            for kind in self._workloads.values()
            for each in kind.values()
        ]
        limits = limits_by_endpoint(workloads, self._autoscalers.values(), self._scaled_objects.values())
        for endpoint, new in self._limits.observe(limits, self._now_us()).items():
            message = EndpointSettings(
                namespace=self._endpoints.namespace,
                endpoint=endpoint,
                at_us=new.at_us,
                min_replicas=new.min_replicas,
                max_replicas=new.max_replicas,
            )
            self._put(message)

    def _sink(
        self, what: str, known: dict[str, Kept], kept_of: Callable[[Found], Kept | None]
    ) -> Sink[Found]:
        """Return a sink that keeps `kept_of(object)` in `known`, by name; None is left out."""
        self._unsettled.add(what)

        def keep(found: Found) -> None:
            known.pop(found.metadata.name, None)
            if (kept := kept_of(found)) is not None:
                known[found.metadata.name] = kept

        def listed(found: list[Found]) -> None:
            known.clear()
            for each in found:
                keep(each)
            self._report_limits()

        def changed(found: Found) -> None:
            keep(found)
            self._report_limits()

        def removed(found: Found) -> None:
            known.pop(found.metadata.name, None)
            self._report_limits()

        def settled() -> None:  # limits wait for all kinds, or partial limits would be reported
            if what in self._unsettled:
                self._unsettled.remove(what)
                self._report_limits()

        return Sink(listed, changed, removed, settled)
