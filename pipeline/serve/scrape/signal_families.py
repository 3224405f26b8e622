"""An endpoint's autoscaling signals as metric families. Pure.

An unknown value has no sample, and so no family: Prometheus then shows a gap, never a 0.
"""

from __future__ import annotations

from endpoint_analytics.pipeline.exposition.families import Labels, MetricFamily, Sample, family_of
from endpoint_analytics.pipeline.serve.scrape.selection import ALL, Selection
from endpoint_analytics.pipeline.store.signals import EndpointSignals
from endpoint_analytics.schemas import metrics as names


def signal_families(
    signals: EndpointSignals | None, *, of: Labels = (), selection: Selection = ALL
) -> tuple[MetricFamily, ...]:
    """Return the selected families of the known values, always in the same order, with the labels `of`."""

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
    return tuple(
        family_of(family, (Sample("", of, value),))
        for family, value in values
        if value is not None and selection.has_family(family.name)
    )
