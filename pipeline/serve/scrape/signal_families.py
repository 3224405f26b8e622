"""An endpoint's autoscaling signals as metric families. Pure.

An unknown value has no sample, and so no family: Prometheus then shows a gap, never a 0.
"""

from __future__ import annotations

from endpoint_analytics.pipeline.exposition.families import MetricFamily, Sample, family_of
from endpoint_analytics.pipeline.store.signals import EndpointSignals
from endpoint_analytics.schemas import metrics as names


def signal_families(signals: EndpointSignals | None) -> tuple[MetricFamily, ...]:
    """Return the families of the known values, always in the same order."""

    if signals is None:
        return ()
    values = (
        (names.AUTOSCALING_PENDING_REQUESTS, signals.pending_requests),
        (names.AUTOSCALING_PENDING_PER_REPLICA, signals.pending_per_replica),
        (names.AUTOSCALING_ACTIVE_REQUESTS, signals.active_requests),
        (names.AUTOSCALING_ACTIVE_PER_REPLICA, signals.active_per_replica),
        (names.AUTOSCALING_CPU_PERCENT, signals.cpu_percent),
        (names.AUTOSCALING_MEMORY_PERCENT, signals.memory_percent),
        (names.AUTOSCALING_GPU_PERCENT, signals.gpu_percent),
        (names.AUTOSCALING_GPU_MEMORY_PERCENT, signals.gpu_memory_percent),
    )
    return tuple(family_of(name, (Sample("", (), value),)) for name, value in values if value is not None)
