"""An endpoint's autoscaling signals: current ones, or an error that says why there are none.

An autoscaler that gets an error keeps its replicas, so an unknown value is never answered with a number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from endpoint_analytics.pipeline.serve.api.models import Autoscaling, ReplicaLoad
from endpoint_analytics.pipeline.serve.api.query import QueryError
from endpoint_analytics.pipeline.store.paused_partitions import PausedPartition, read_still_paused
from endpoint_analytics.pipeline.store.progress import StreamPartition
from endpoint_analytics.pipeline.store.reader import Reader
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
_WAIT = "autoscalers keep their replicas until then: check that agents, Kafka, worker and ClickHouse are up"


class _Found(NamedTuple):
    signals: EndpointSignals | None
    is_known: bool
    paused: tuple[PausedPartition, ...]
    """Paused partitions that the endpoint's agents send to; read only if one of its figures is unknown."""


@dataclass(frozen=True, slots=True)
class Signals:
    """Reads the signals of endpoints, once for all concurrent requests."""

    reader: Reader
    cache: SharedCache[tuple[str, str], _Found]
    now: Callable[[], datetime]

    async def current(self, namespace: str, endpoint: str) -> EndpointSignals:
        """Return current signals; raises QueryError (404 for an unknown endpoint, 503 for a silent one), StoreError."""
        signals, _ = await self._current(namespace, endpoint)
        return signals

    async def value(self, namespace: str, endpoint: str, metric: str) -> tuple[EndpointSignals, float]:
        """Return current signals and one value of them; raises as `current` does, and QueryError if it is unknown."""
        stream = "requests" if metric.startswith(("pending_", "active_")) else "hardware"
        signals, paused = await self._current(namespace, endpoint, stream)
        value: float | None = getattr(signals, metric)
        if value is None:
            what = f"{metric} of {endpoint!r} is currently unknown"
            if (cause := _of_stream(paused, stream)) is not None:
                raise _unknown(what, "pipeline", cause)
            raise QueryError(what, "endpoint", "no running replica reports it: check its agents", 503)
        return signals, value

    async def _current(
        self, namespace: str, endpoint: str, stream: str = ""
    ) -> tuple[EndpointSignals, tuple[PausedPartition, ...]]:
        """Return current signals and paused partitions; `stream` is that of the requested figure, if only one."""

        async def read() -> _Found:
            signals = await read_signals(self.reader, namespace, endpoint, self.now())
            is_known = signals is not None or (await read_known(self.reader, namespace, endpoint)).exists
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
                "no agent or event has ever reported it: GET /v2/endpoint/{namespace} lists the known endpoints",
                404,
            )
        if signals is None:
            raise QueryError("no agent of this endpoint has been heard from in days", "endpoint", _WAIT, 503)
        if signals.unknown_since is not None:
            late_s = (signals.at - signals.unknown_since).total_seconds()
            cause = next(iter(_among(paused, signals.unknown_places)), None)
            raise _unknown(
                f"nothing is known about this endpoint for the last {late_s:.0f} s", "pipeline", cause
            )
        if not signals.is_current:
            what = f"nothing current is known: this endpoint's agents were last heard from {signals.age_s:.0f} s ago"
            cause = next(iter(paused), None)
            if signals.age_s <= FRESH_FOR_S:
                what = "no replica's agent reports current requests or hardware"
                cause = _of_stream(paused, stream) if stream else cause
            if cause is not None:
                raise _unknown(what, "pipeline", cause)
            raise QueryError(what, "endpoint", _WAIT, 503)
        return signals, paused


def _among(
    paused: Iterable[PausedPartition], partitions: Collection[StreamPartition]
) -> tuple[PausedPartition, ...]:
    return tuple(each for each in paused if (each.stream, each.partition) in partitions)


def _of_stream(paused: Iterable[PausedPartition], stream: str) -> PausedPartition | None:
    return next((each for each in paused if each.stream == stream), None)


def _unknown(what: str, where: str, paused: PausedPartition | None) -> QueryError:
    """Return the error for a value that is unknown because the pipeline is late, or paused for a known reason."""
    if paused is None:
        return QueryError(f"{what}: the pipeline is late", where, _WAIT, 503)
    hint = f"autoscalers keep their replicas until then; once the cause is fixed, run `{paused.command}`"
    return QueryError(f"{what}: {paused}", where, hint, 503)


def autoscaling_shape(found: EndpointSignals) -> Autoscaling:
    """Return the signals as a response of the JSON API."""
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
