"""An endpoint's autoscaling signals for who asks: current ones, or an error that says why there are none.

An autoscaler that gets an error keeps its replicas. So what is not known is never answered with a number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from endpoint_analytics.pipeline.serve.api.ask import AskError
from endpoint_analytics.pipeline.serve.api.shapes import Autoscaling, ReplicaLoad
from endpoint_analytics.pipeline.serve.shared_cache import SharedCache
from endpoint_analytics.pipeline.store.endpoint_metrics import Reader
from endpoint_analytics.pipeline.store.series_replicas import read_known
from endpoint_analytics.pipeline.store.signal_queries import read_signals
from endpoint_analytics.pipeline.store.signals import (
    FRESH_FOR_S,
    HARDWARE_WINDOW_S,
    WINDOW_S,
    EndpointSignals,
    ReplicaSignals,
)

_WAIT = "an autoscaler keeps its replicas until then: see whether agents, Kafka, worker and ClickHouse run"


class _Found(NamedTuple):
    signals: EndpointSignals | None
    is_known: bool


@dataclass(frozen=True, slots=True)
class Signals:
    """Reads the signals of endpoints, once for all who ask at the same time."""

    reader: Reader
    cache: SharedCache[tuple[str, str], _Found]
    now: Callable[[], datetime]

    async def current(self, namespace: str, endpoint: str) -> EndpointSignals:
        """Return current signals; raises AskError (404 for an unknown endpoint, 503 for a silent one), StoreError."""

        async def read() -> _Found:
            signals = await read_signals(self.reader, namespace, endpoint, self.now())
            is_known = signals is not None or (await read_known(self.reader, namespace, endpoint))[0]
            return _Found(signals, is_known)

        (signals, is_known), _ = await self.cache.get((namespace, endpoint), read)
        if not is_known:
            raise AskError(
                f"there is no endpoint {endpoint!r} in namespace {namespace!r}",
                "path",
                "no agent and no event ever told of it: see GET /v2/endpoint/{namespace} for those that are",
                404,
            )
        if signals is None:
            raise AskError("no agent of the endpoint was heard in days", "endpoint", _WAIT, 503)
        if not signals.is_current:
            what = (
                f"nothing current is known: the endpoint's agents were last heard {signals.age_s:.0f} s ago"
            )
            if signals.age_s <= FRESH_FOR_S:
                what = "no replica's agent tells of requests or hardware that are current"
            raise AskError(what, "endpoint", _WAIT, 503)
        return signals


def autoscaling_shape(found: EndpointSignals) -> Autoscaling:
    """Return the signals as the JSON API answers them."""
    return Autoscaling(
        namespace=found.namespace,
        endpoint=found.endpoint,
        as_of=found.as_of.timestamp(),
        age_seconds=found.age_s,
        window_seconds=WINDOW_S,
        hardware_window_seconds=HARDWARE_WINDOW_S,
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
        replicas=[_load(replica) for replica in found.replicas],
    )


def _load(replica: ReplicaSignals) -> ReplicaLoad:
    return ReplicaLoad(
        replica=replica.replica_id,
        state=replica.state,
        as_of=replica.as_of.timestamp() if replica.as_of else None,
        pending_requests=replica.pending_requests,
        streaming_requests=replica.streaming_requests,
        cpu_percent=replica.cpu_percent,
        memory_percent=replica.memory_percent,
        gpu_percent=replica.gpu_percent,
        gpu_memory_percent=replica.gpu_memory_percent,
    )
