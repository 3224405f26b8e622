"""One endpoint's answer: which database queries a request needs, and their rows combined. All at one moment `now`.

The database queries of an answer run concurrently. HTTP and caching do not belong here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from endpoint_analytics.pipeline.serve.api import columns
from endpoint_analytics.pipeline.serve.api import summary as summaries
from endpoint_analytics.pipeline.serve.api.models import Answer, Group, Series, Summary
from endpoint_analytics.pipeline.serve.api.openapi_parameters import MAX_POINTS
from endpoint_analytics.pipeline.serve.api.query import Query, QueryError
from endpoint_analytics.pipeline.store.conflicts import BatchConflict, read_conflicts
from endpoint_analytics.pipeline.store.losses import LostRequests, read_losses
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.rollup_levels import RollupProgress
from endpoint_analytics.pipeline.store.series import (
    MAX_SAMPLE_SERIES,
    WHOLE,
    Quantiles,
    RequestStep,
    SampleSeries,
    SeriesQuery,
    combined,
    query_of_range,
    query_of_steps,
    read_quantiles,
    read_requests,
    read_samples,
)
from endpoint_analytics.pipeline.store.series_plan import RangeError, Steps, choose_steps
from endpoint_analytics.pipeline.store.series_replicas import Replicas, read_known, read_replicas
from endpoint_analytics.pipeline.store.series_sql import Phase
from endpoint_analytics.schemas.metrics import HEARTBEAT_TIMEOUT_S

MAX_VALUES = 400_000
"""Maximum number of values in all series of one answer: a few megabytes of JSON."""
SETTLES_S = HEARTBEAT_TIMEOUT_S + 5
"""How long after its end a step may still change: agents send within 1 s, the worker stores within 1 s, and it is
reported as late after HEARTBEAT_TIMEOUT_S."""


_WITHOUT_REQUESTS = frozenset({"replicas", "hardware", "engine"})
"""The groups that have queries of their own; all others are computed from the counts of requests."""

_PHASES: tuple[Phase, ...] = ("latency", "ttfb")

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Rows:
    """The results of one answer's queries; empty for those that were not needed."""

    exists: bool
    newest_s: float | None
    counts: dict[int, RequestStep]
    quantiles: Mapping[Phase, Quantiles]
    hardware: list[SampleSeries]
    engine: list[SampleSeries]
    summary: Summary | None
    replicas: Replicas
    losses: list[LostRequests]
    conflicts: list[BatchConflict]


@dataclass(frozen=True, slots=True)
class EndpointAnswers:
    """Answers queries from a reader; `progress` returns how far each level is rolled up."""

    reader: Reader
    progress: Callable[[], Awaitable[RollupProgress]]
    presence: Presence
    now_s: Callable[[], float]

    async def answer(self, query: Query) -> Answer | None:
        """Return the answer, or None for an endpoint that was never reported.

        Raises QueryError for an unsupported range or size, and StoreError.
        """
        now_s = self.now_s()
        progress = await self.progress()
        steps = _steps(query, now_s, progress)
        since_s = _since(query, steps, now_s)
        rows = await self._read(query, steps, since_s, now_s, progress)
        if not rows.exists:
            return None
        at = list(range(since_s, steps.to_s, steps.step_s))
        parts, found = query.parts, rows.replicas
        return Answer(
            namespace=query.namespace,
            endpoint=query.endpoint,
            from_=steps.from_s,
            to=steps.to_s,
            step=steps.step_s,
            level=steps.level.seconds,
            at=at,
            incomplete_from=_incomplete_from(steps, now_s, found.unknown_since_s),
            newest_at=rows.newest_s,
            series=_series(query, at, steps, rows, now_s),
            replica=query.replica or None,
            summary=rows.summary,
            replicas=summaries.replicas_of(found, query.replica) if "replicas" in parts else None,
            timeline=summaries.timeline_of(found, query.replica, steps.from_s, steps.to_s)
            if "timeline" in parts
            else None,
            events=summaries.events_of(found, query.replica, steps.from_s, steps.to_s)
            if "events" in parts
            else None,
            losses=summaries.losses_of(rows.losses),
            conflicts=summaries.conflicts_of(rows.conflicts),
            unknown_since=found.unknown_since_s,
            paused=summaries.paused_of(found.paused) or None,
        )

    async def _read(
        self, query: Query, steps: Steps, since_s: int, now_s: float, progress: RollupProgress
    ) -> _Rows:
        """Run the database queries that the request needs, concurrently."""
        namespace, endpoint, reader = query.namespace, query.endpoint, self.reader
        stepped = query_of_steps(namespace, endpoint, query.replica, steps, since_s, progress)
        whole = query_of_range(namespace, endpoint, query.replica, steps.from_s, steps.to_s, progress)
        phases: list[Phase] = [phase for phase in _PHASES if phase in query.groups]
        # The summary of a range whose steps are all read is made of them.
        of_steps = "summary" in query.parts and since_s == steps.from_s and len(phases) == len(_PHASES)
        of_replicas = "replicas" in query.groups or any(part != "summary" for part in query.parts)

        no_counts: dict[int, RequestStep] = {}
        no_samples: list[SampleSeries] = []

        async def replicas() -> Replicas:
            return await read_replicas(
                reader, namespace, endpoint, steps.from_s, steps.to_s, now_s, self.presence
            )

        over = (reader, namespace, endpoint, query.replica, steps.from_s, steps.to_s)

        async def losses_if_any() -> list[LostRequests]:
            return await read_losses(*over) if (await known).has_losses else []

        async def conflicts_if_any() -> list[BatchConflict]:
            return await read_conflicts(*over) if (await known).has_conflicts else []

        async with query_group() as group:
            known = group.create_task(read_known(reader, namespace, endpoint))
            counts = group.create_task(
                _if(
                    not _WITHOUT_REQUESTS.issuperset(query.groups),
                    no_counts,
                    lambda: read_requests(reader, stepped),
                )
            )
            quantiles = group.create_task(read_quantiles(reader, stepped, phases, whole=of_steps))
            hardware = group.create_task(
                _if(
                    "hardware" in query.groups and query.metrics,
                    no_samples,
                    lambda: read_samples(reader, stepped, "hardware", query.metrics, query.details),
                )
            )
            engine = group.create_task(
                _if(
                    "engine" in query.groups and query.engine_metrics != (),
                    no_samples,
                    lambda: read_samples(
                        reader, stepped, "engine", query.engine_metrics or (), query.details
                    ),
                )
            )
            summary = group.create_task(
                _if("summary" in query.parts and not of_steps, None, lambda: self._summary(whole))
            )
            found = group.create_task(_if(of_replicas, Replicas((), ()), replicas))
            losses = group.create_task(losses_if_any())
            conflicts = group.create_task(conflicts_if_any())
        return _Rows(
            known.result().exists,
            known.result().newest_s,
            counts.result(),
            quantiles.result(),
            hardware.result(),
            engine.result(),
            _summary(combined(counts.result()), quantiles.result(), WHOLE) if of_steps else summary.result(),
            found.result(),
            losses.result(),
            conflicts.result(),
        )

    async def _summary(self, whole: SeriesQuery) -> Summary:
        requests, quantiles = await asyncio.gather(
            read_requests(self.reader, whole), read_quantiles(self.reader, whole, _PHASES)
        )
        return _summary(requests.get(whole.origin_s), quantiles, whole.origin_s)


def _summary(requests: RequestStep | None, quantiles: Mapping[Phase, Quantiles], at: int) -> Summary:
    return summaries.summary_of(requests, quantiles["latency"].get(at), quantiles["ttfb"].get(at))


async def _if(wanted: object, otherwise: Value, read: Callable[[], Awaitable[Value]]) -> Value:
    """Return the result of `read`, or `otherwise` without calling it."""
    return await read() if wanted else otherwise


def _steps(query: Query, now_s: float, progress: RollupProgress) -> Steps:
    from_s, to_s, _ = query.moments(now_s)
    try:
        return choose_steps(from_s, to_s, query.step_s, query.points, MAX_POINTS, now_s, progress)
    except RangeError as error:
        raise QueryError(error.what, error.where, error.hint) from error


def _incomplete_from(steps: Steps, now_s: float, unknown_since_s: float | None) -> int | None:
    """Return the first step that may still change, or None if all are final."""
    settled_s = now_s if unknown_since_s is None else min(now_s, unknown_since_s)
    first = int(settled_s - SETTLES_S) // steps.step_s * steps.step_s
    return max(first, steps.from_s) if first < steps.to_s else None


def _since(query: Query, steps: Steps, now_s: float) -> int:
    """Return the start of the first requested step."""
    _, _, since_s = query.moments(now_s)
    if since_s is None:
        return steps.from_s
    return min(max(int(since_s) // steps.step_s * steps.step_s, steps.from_s), steps.to_s)


def _series(query: Query, at: list[int], steps: Steps, rows: _Rows, now_s: float) -> list[Series]:
    make: dict[Group, Callable[[], list[Series]]] = {
        "requests": lambda: columns.request_series(at, rows.counts, query.by_status),
        "pending": lambda: columns.pending_series(at, rows.counts),
        "latency": lambda: columns.distribution_series("latency", at, rows.counts, rows.quantiles["latency"]),
        "ttfb": lambda: columns.distribution_series("ttfb", at, rows.counts, rows.quantiles["ttfb"]),
        "replicas": lambda: columns.replica_series(at, steps.step_s, rows.replicas, query.replica, now_s),
        "hardware": lambda: columns.sample_series("hardware", at, rows.hardware, query.details),
        "engine": lambda: columns.sample_series("engine", at, rows.engine, query.details),
    }
    count = len(rows.hardware) + len(rows.engine)
    if count > MAX_SAMPLE_SERIES or count * len(at) > MAX_VALUES:
        raise QueryError(
            f"{count} series of {len(at)} steps are too many for one answer",
            "query parameter details",
            "request fewer points, fewer metrics, or one replica",
            413,
        )
    return [series for group in query.groups for series in make[group]()]
