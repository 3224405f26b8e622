"""An endpoint's autoscaling signals for who asks: current ones, or an error that says why there are none.

An autoscaler that gets an error keeps its replicas. So what is not known is never answered with a number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from endpoint_analytics.pipeline.serve.api.models import Autoscaling, ReplicaLoad
from endpoint_analytics.pipeline.serve.api.query import QueryError
from endpoint_analytics.pipeline.store.endpoint_metrics import Reader
from endpoint_analytics.pipeline.store.paused_partitions import PausedPartition, read_still_paused
from endpoint_analytics.pipeline.store.progress import Place
from endpoint_analytics.pipeline.store.series_replicas import read_known
from endpoint_analytics.pipeline.store.shared_cache import SharedCache
from endpoint_analytics.pipeline.store.signal_queries import read_signals
from endpoint_analytics.pipeline.store.signals import (
    FRESH_FOR_S,
    HARDWARE_WINDOW_S,
    WINDOW_S,
    EndpointSignals,
    ReplicaSignals,
)

_FIGURES = ("pending_requests", "cpu_percent", "memory_percent", "gpu_percent", "gpu_memory_percent")
_WAIT = "an autoscaler keeps its replicas until then: see whether agents, Kafka, worker and ClickHouse run"


class _Found(NamedTuple):
    signals: EndpointSignals | None
    is_known: bool
    paused: tuple[PausedPartition, ...]
    """Those by which the endpoint's agents send, where something is not known of it."""


@dataclass(frozen=True, slots=True)
class Signals:
    """Reads the signals of endpoints, once for all who ask at the same time."""

    reader: Reader
    cache: SharedCache[tuple[str, str], _Found]
    now: Callable[[], datetime]

    async def current(self, namespace: str, endpoint: str) -> EndpointSignals:
        """Return current signals; raises QueryError (404 for an unknown endpoint, 503 for a silent one), StoreError."""
        signals, _ = await self._current(namespace, endpoint)
        return signals

    async def value(self, namespace: str, endpoint: str, metric: str) -> tuple[EndpointSignals, float]:
        """Return current signals and one of them; raises as `current` does, and QueryError for an unknown one."""
        stream = "requests" if metric.startswith(("pending_", "active_")) else "hardware"
        signals, paused = await self._current(namespace, endpoint, stream)
        value: float | None = getattr(signals, metric)
        if value is None:
            what = f"{metric} is not known of {endpoint!r} now"
            if (cause := _of_stream(paused, stream)) is not None:
                raise _unknown(what, "pipeline", cause)
            raise QueryError(what, "endpoint", "no running replica tells of it: see its agents", 503)
        return signals, value

    async def _current(
        self, namespace: str, endpoint: str, stream: str = ""
    ) -> tuple[EndpointSignals, tuple[PausedPartition, ...]]:
        """Return current signals, and what is paused; `stream` is that of the figure that is asked for, if of one."""

        async def read() -> _Found:
            signals = await read_signals(self.reader, namespace, endpoint, self.now())
            is_known = signals is not None or (await read_known(self.reader, namespace, endpoint))[0]
            paused: tuple[PausedPartition, ...] = ()
            if signals is not None and any(getattr(signals, figure) is None for figure in _FIGURES):
                still = await read_still_paused(self.reader)
                paused = _among(still, signals.places)
            return _Found(signals, is_known, paused)

        (signals, is_known, paused), _ = await self.cache.get((namespace, endpoint), read)
        if not is_known:
            raise QueryError(
                f"there is no endpoint {endpoint!r} in namespace {namespace!r}",
                "path",
                "no agent and no event ever told of it: see GET /v2/endpoint/{namespace} for those that are",
                404,
            )
        if signals is None:
            raise QueryError("no agent of the endpoint was heard in days", "endpoint", _WAIT, 503)
        if signals.unknown_since is not None:
            late_s = (signals.at - signals.unknown_since).total_seconds()
            cause = next(iter(_among(paused, signals.unknown_places)), None)
            raise _unknown(f"nothing has been known of the endpoint for {late_s:.0f} s", "pipeline", cause)
        if not signals.is_current:
            what = (
                f"nothing current is known: the endpoint's agents were last heard {signals.age_s:.0f} s ago"
            )
            cause = next(iter(paused), None)
            if signals.age_s <= FRESH_FOR_S:
                what = "no replica's agent tells of requests or hardware that are current"
                cause = _of_stream(paused, stream) if stream else cause
            if cause is not None:
                raise _unknown(what, "pipeline", cause)
            raise QueryError(what, "endpoint", _WAIT, 503)
        return signals, paused


def _among(paused: Iterable[PausedPartition], places: Collection[Place]) -> tuple[PausedPartition, ...]:
    return tuple(each for each in paused if (each.stream, each.partition) in places)


def _of_stream(paused: Iterable[PausedPartition], stream: str) -> PausedPartition | None:
    return next((each for each in paused if each.stream == stream), None)


def _unknown(what: str, where: str, paused: PausedPartition | None) -> QueryError:
    """Return the error for what is not known as the pipeline is late, or stands for a reason that is known."""
    if paused is None:
        return QueryError(f"{what}: the pipeline is late", where, _WAIT, 503)
    hint = f"an autoscaler keeps its replicas until then; once you know why, run `{paused.command}`"
    return QueryError(f"{what}: {paused}", where, hint, 503)


def autoscaling_shape(found: EndpointSignals) -> Autoscaling:
    """Return the signals as the JSON API answers them."""
    return Autoscaling(
        namespace=found.namespace,
        endpoint=found.endpoint,
        as_of=found.as_of.timestamp(),
        age_seconds=found.age_s,
        window_seconds=WINDOW_S,
        hardware_window_seconds=HARDWARE_WINDOW_S,
        running_replicas=found.running_replicas or 0,
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
