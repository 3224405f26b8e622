"""From an endpoint's signals to the message of the topic. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from endpoint_analytics.pipeline.store.signals import (
    HARDWARE_WINDOW_S,
    WINDOW_S,
    EndpointSignals,
    ReplicaSignals,
)
from endpoint_analytics.schemas.signals import AutoscalingSignal, ReplicaSignal

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def signal_message(found: EndpointSignals) -> AutoscalingSignal:
    """Return the message for an endpoint whose signals are current; raises ValueError if its state is unknown."""
    if found.running_replicas is None:
        raise ValueError(
            f"nothing is known about {found.namespace}/{found.endpoint} since {found.unknown_since}"
        )
    return AutoscalingSignal(
        namespace=found.namespace,
        endpoint=found.endpoint,
        at_us=_microseconds(found.at),
        as_of_us=_microseconds(found.as_of),
        window_us=WINDOW_S * 1_000_000,
        hardware_window_us=HARDWARE_WINDOW_S * 1_000_000,
        running_replicas=found.running_replicas,
        late_replicas=found.late_replicas,
        silent_replicas=found.silent_replicas,
        pending_requests=found.pending_requests,
        pending_per_replica=found.pending_per_replica,
        active_requests=found.active_requests,
        active_per_replica=found.active_per_replica,
        cpu_percent=found.cpu_percent,
        memory_percent=found.memory_percent,
        gpu_percent=found.gpu_percent,
        gpu_memory_percent=found.gpu_memory_percent,
        replicas=[_replica(replica) for replica in found.replicas],
    )


def _replica(replica: ReplicaSignals) -> ReplicaSignal:
    return ReplicaSignal(
        replica_id=replica.replica_id,
        state=None if replica.state == "unknown" else replica.state,
        pending_requests=replica.pending_requests,
        streaming_requests=replica.streaming_requests,
        cpu_percent=replica.cpu_percent,
        memory_percent=replica.memory_percent,
        gpu_percent=replica.gpu_percent,
        gpu_memory_percent=replica.gpu_memory_percent,
    )


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
