"""One endpoint's answer: which queries a question needs, and their rows put together. All at one moment `now`.

The queries of an answer run side by side. HTTP and caching do not belong here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from endpoint_analytics.pipeline.serve.api import columns
from endpoint_analytics.pipeline.serve.api import summary as boxes
from endpoint_analytics.pipeline.serve.api.models import Answer, Group, Series, Summary
from endpoint_analytics.pipeline.serve.api.openapi import MAX_POINTS
from endpoint_analytics.pipeline.serve.api.query import Query, QueryError
from endpoint_analytics.pipeline.store.conflicts import Conflict, read_conflicts
from endpoint_analytics.pipeline.store.endpoint_metrics import Reader
from endpoint_analytics.pipeline.store.losses import Loss, read_losses
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.rollup_levels import RollupProgress
from endpoint_analytics.pipeline.store.series import (
    MAX_SAMPLE_SERIES,
    Question,
    RequestStep,
    SampleSeries,
    question_of_range,
    question_of_steps,
    read_quantiles,
    read_requests,
    read_samples,
)
from endpoint_analytics.pipeline.store.series_plan import RangeError, Steps, choose_steps
from endpoint_analytics.pipeline.store.series_replicas import Replicas, read_known, read_replicas
from endpoint_analytics.schemas.metrics import HEARTBEAT_TIMEOUT_S

MAX_VALUES = 400_000
"""Values of all series of one answer: a few megabytes of JSON."""
SETTLES_S = HEARTBEAT_TIMEOUT_S + 5
"""A step may change for so long after its end: agents send within 1 s, the worker stores within 1 s, and it is
late, and is said to be, from HEARTBEAT_TIMEOUT_S on."""


_OF_REQUESTS = frozenset({"requests", "pending", "latency", "ttfb"})
Value = TypeVar("Value")
Quantiles = dict[int, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the queries of one answer gave; empty where nothing was asked."""

    exists: bool
    newest_s: float | None
    counts: dict[int, RequestStep]
    latency: Quantiles
    ttfb: Quantiles
    hardware: list[SampleSeries]
    engine: list[SampleSeries]
    summary: Summary | None
    replicas: Replicas
    losses: list[Loss]
    conflicts: list[Conflict]


@dataclass(frozen=True, slots=True)
class Figures:
    """Answers questions from a reader; `reach` says how far each level reaches."""

    reader: Reader
    reach: Callable[[], Awaitable[RollupProgress]]
    presence: Presence
    now_s: Callable[[], float]

    async def answer(self, ask: Query) -> Answer | None:
        """Return the answer, None for an endpoint of which nothing was ever heard.

        Raises QueryError for a range or a size that is none of ours, and StoreError.
        """
        now_s = self.now_s()
        reach = await self.reach()
        steps = _steps(ask, now_s, reach)
        since_s = _since(ask, steps, now_s)
        rows = await self._read(ask, steps, since_s, now_s, reach)
        if not rows.exists:
            return None
        at = list(range(since_s, steps.to_s, steps.step_s))
        parts, found = ask.parts, rows.replicas
        return Answer(
            namespace=ask.namespace,
            endpoint=ask.endpoint,
            from_=steps.from_s,
            to=steps.to_s,
            step=steps.step_s,
            level=steps.level.seconds,
            at=at,
            incomplete_from=_incomplete_from(steps, now_s, found.unknown_since_s),
            newest_at=rows.newest_s,
            series=_drawn(ask, at, steps, rows, now_s),
            replica=ask.replica or None,
            summary=rows.summary,
            replicas=boxes.replicas_of(found, ask.replica) if "replicas" in parts else None,
            timeline=boxes.timeline_of(found, ask.replica, steps.from_s, steps.to_s)
            if "timeline" in parts
            else None,
            events=boxes.events_of(found, ask.replica, steps.from_s, steps.to_s)
            if "events" in parts
            else None,
            losses=boxes.losses_of(rows.losses),
            conflicts=boxes.conflicts_of(rows.conflicts),
            unknown_since=found.unknown_since_s,
            paused=boxes.paused_of(found.paused) or None,
        )

    async def _read(
        self, ask: Query, steps: Steps, since_s: int, now_s: float, reach: RollupProgress
    ) -> _Rows:
        """Run the queries that the question needs, side by side."""
        namespace, endpoint, reader = ask.namespace, ask.endpoint, self.reader
        stepped = question_of_steps(namespace, endpoint, ask.replica, steps, since_s, reach)
        whole = question_of_range(namespace, endpoint, ask.replica, steps.from_s, steps.to_s, reach)
        of_replicas = "replicas" in ask.groups or any(part != "summary" for part in ask.parts)

        no_counts: dict[int, RequestStep] = {}
        no_quantiles: Quantiles = {}
        no_samples: list[SampleSeries] = []

        async def replicas() -> Replicas:
            return await read_replicas(
                reader, namespace, endpoint, steps.from_s, steps.to_s, now_s, self.presence
            )

        async with query_group() as group:
            known = group.create_task(read_known(reader, namespace, endpoint))
            counts = group.create_task(
                _if(
                    _OF_REQUESTS.intersection(ask.groups),
                    no_counts,
                    lambda: read_requests(reader, stepped),
                )
            )
            latency = group.create_task(
                _if(
                    "latency" in ask.groups,
                    no_quantiles,
                    lambda: read_quantiles(reader, stepped, "latency"),
                )
            )
            ttfb = group.create_task(
                _if("ttfb" in ask.groups, no_quantiles, lambda: read_quantiles(reader, stepped, "ttfb"))
            )
            hardware = group.create_task(
                _if(
                    "hardware" in ask.groups and ask.metrics,
                    no_samples,
                    lambda: read_samples(reader, stepped, "hardware", ask.metrics, ask.details),
                )
            )
            engine = group.create_task(
                _if(
                    "engine" in ask.groups and ask.engine_metrics != (),
                    no_samples,
                    lambda: read_samples(reader, stepped, "engine", ask.engine_metrics or (), ask.details),
                )
            )
            summary = group.create_task(_if("summary" in ask.parts, None, lambda: self._summary(whole)))
            found = group.create_task(_if(of_replicas, Replicas((), ()), replicas))
            losses = group.create_task(
                read_losses(reader, namespace, endpoint, ask.replica, steps.from_s, steps.to_s)
            )
            conflicts = group.create_task(
                read_conflicts(reader, namespace, endpoint, ask.replica, steps.from_s, steps.to_s)
            )
        exists, newest_s = known.result()
        return _Rows(
            exists,
            newest_s,
            counts.result(),
            latency.result(),
            ttfb.result(),
            hardware.result(),
            engine.result(),
            summary.result(),
            found.result(),
            losses.result(),
            conflicts.result(),
        )

    async def _summary(self, whole: Question) -> Summary:
        requests, latency, ttfb = await asyncio.gather(
            read_requests(self.reader, whole),
            read_quantiles(self.reader, whole, "latency"),
            read_quantiles(self.reader, whole, "ttfb"),
        )
        at = whole.origin_s
        return boxes.summary_of(requests.get(at), latency.get(at), ttfb.get(at))


async def _if(wanted: object, otherwise: Value, read: Callable[[], Awaitable[Value]]) -> Value:
    """Return what `read` gives, or `otherwise` without asking."""
    return await read() if wanted else otherwise


def _steps(ask: Query, now_s: float, reach: RollupProgress) -> Steps:
    from_s, to_s, _ = ask.moments(now_s)
    try:
        return choose_steps(from_s, to_s, ask.step_s, ask.points, MAX_POINTS, now_s, reach)
    except RangeError as error:
        raise QueryError(error.what, error.where, error.hint) from error


def _incomplete_from(steps: Steps, now_s: float, unknown_since_s: float | None) -> int | None:
    """Return the first step that may still change, None when all are past."""
    settled_s = now_s if unknown_since_s is None else min(now_s, unknown_since_s)
    first = int(settled_s - SETTLES_S) // steps.step_s * steps.step_s
    return max(first, steps.from_s) if first < steps.to_s else None


def _since(ask: Query, steps: Steps, now_s: float) -> int:
    """Return the first step that is wanted."""
    _, _, since_s = ask.moments(now_s)
    if since_s is None:
        return steps.from_s
    return min(max(int(since_s) // steps.step_s * steps.step_s, steps.from_s), steps.to_s)


def _drawn(ask: Query, at: list[int], steps: Steps, rows: _Rows, now_s: float) -> list[Series]:
    draw: dict[Group, Callable[[], list[Series]]] = {
        "requests": lambda: columns.request_series(at, rows.counts, ask.by_status),
        "pending": lambda: columns.pending_series(at, rows.counts),
        "latency": lambda: columns.distribution_series("latency", at, rows.counts, rows.latency),
        "ttfb": lambda: columns.distribution_series("ttfb", at, rows.counts, rows.ttfb),
        "replicas": lambda: columns.replica_series(at, steps.step_s, rows.replicas, ask.replica, now_s),
        "hardware": lambda: columns.sample_series("hardware", at, rows.hardware, ask.details),
        "engine": lambda: columns.sample_series("engine", at, rows.engine, ask.details),
    }
    count = len(rows.hardware) + len(rows.engine)
    if count > MAX_SAMPLE_SERIES or count * len(at) > MAX_VALUES:
        raise QueryError(
            f"{count} series of {len(at)} steps are more than one answer takes",
            "query parameter details",
            "ask for fewer points, fewer metrics, or one replica",
            413,
        )
    return [series for group in ask.groups for series in draw[group]()]
