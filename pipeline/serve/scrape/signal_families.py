"""An endpoint's autoscaling signals as metric families. Pure.

An unknown value has no sample, and so no family: Prometheus then shows a gap, never a 0.
"""

from __future__ import annotations

from endpoint_analytics.pipeline.exposition.families import Labels, MetricFamily, Sample, family_of
from endpoint_analytics.pipeline.serve.scrape.selection import ALL, Selection
from endpoint_analytics.pipeline.store.signals import EndpointSignals
from endpoint_analytics.schemas import metrics as names

FAMILIES = (
    names.AUTOSCALING_PENDING_REQUESTS,
    names.AUTOSCALING_PENDING_PER_REPLICA,
    names.AUTOSCALING_ACTIVE_REQUESTS,
    names.AUTOSCALING_ACTIVE_PER_REPLICA,
    names.AUTOSCALING_CPU_PERCENT,
    names.AUTOSCALING_MEMORY_PERCENT,
    names.AUTOSCALING_GPU_PERCENT,
    names.AUTOSCALING_GPU_MEMORY_PERCENT,
)


def signal_families(
    signals: EndpointSignals | None, *, of: Labels = (), selection: Selection = ALL
) -> tuple[MetricFamily, ...]:
    """Return the selected families of the known values, always in the same order, with the labels `of`."""

    if signals is None:
        return ()
    values = (
        signals.pending_requests,
        signals.pending_per_replica,
        signals.active_requests,
        signals.active_per_replica,
        signals.cpu_percent,
        signals.memory_percent,
        signals.gpu_percent,
        signals.gpu_memory_percent,
    )
    return tuple(
        family_of(family, (Sample("", of, value),))
        for family, value in zip(FAMILIES, values, strict=True)
        if value is not None and selection.has_family(family.name)
    )
