"""One endpoint's answer: which queries a question needs, and their rows put together. All at one moment `now`.

The queries of an answer run side by side. HTTP and caching do not belong here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from endpoint_analytics.pipeline.serve.api import boxes, columns
from endpoint_analytics.pipeline.serve.api.ask import Ask, AskError
from endpoint_analytics.pipeline.serve.api.openapi import MAX_POINTS
from endpoint_analytics.pipeline.serve.api.shapes import Answer, Group, Series, Summary
from endpoint_analytics.pipeline.store.endpoint_metrics import Reader
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.rollup_levels import Reach
from endpoint_analytics.pipeline.store.series import (
    MAX_HARDWARE_SERIES,
    Question,
    RequestStep,
    question_of_range,
    question_of_steps,
    read_hardware,
    read_quantiles,
    read_requests,
)
from endpoint_analytics.pipeline.store.series_plan import RangeError, Steps, choose_steps
from endpoint_analytics.pipeline.store.series_replicas import Replicas, read_known, read_replicas

MAX_VALUES = 400_000
"""Values of all series of one answer: a few megabytes of JSON."""
SETTLES_S = 5
"""A step may change for so long after its end: agents send within 1 s, the worker stores within 1 s."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Answers questions from a reader; `reach` says how far each level reaches."""

    reader: Reader
    reach: Callable[[], Awaitable[Reach]]
    presence: Presence
    now_s: Callable[[], float]

    async def answer(self, ask: Ask) -> Answer | None:
        """Return the answer, None for an endpoint of which nothing was ever heard.

        Raises AskError for a range or a size that is none of ours, and StoreError.
        """
        now_s = self.now_s()
        reach = await self.reach()
        steps = _steps(ask, now_s, reach)
        _, _, since = ask.moments(now_s)
        since_s = steps.from_s
        if since is not None:
            since_s = min(max(int(since) // steps.step_s * steps.step_s, steps.from_s), steps.to_s)
        at = list(range(since_s, steps.to_s, steps.step_s))
        by_steps = question_of_steps(ask.namespace, ask.endpoint, ask.replica, steps, since_s, reach)
        reading = _Reading(self.reader, ask, by_steps)
        of_requests = {"requests", "pending", "latency", "ttfb"}.intersection(ask.groups)
        needed = {*ask.groups, *(("counts",) if of_requests else ())}
        whole = question_of_range(ask.namespace, ask.endpoint, ask.replica, steps.from_s, steps.to_s, reach)
        try:
            async with asyncio.TaskGroup() as group:

                def start(work: Coroutine[Any, Any, Any], wanted: bool) -> asyncio.Task[Any] | None:
                    if wanted:
                        return group.create_task(work)
                    work.close()
                    return None

                known = group.create_task(read_known(self.reader, ask.namespace, ask.endpoint))
                series = {each: start(reading.read(each), each in needed) for each in reading.groups}
                summary = start(self._summary(whole), "summary" in ask.parts)
                replicas = start(
                    read_replicas(
                        self.reader,
                        ask.namespace,
                        ask.endpoint,
                        steps.from_s,
                        steps.to_s,
                        now_s,
                        self.presence,
                    ),
                    "replicas" in ask.groups or any(part != "summary" for part in ask.parts),
                )
        except* StoreError as errors:
            raise errors.exceptions[0] from None
        exists, newest_s = known.result()
        if not exists:
            return None
        found = replicas.result() if replicas else Replicas((), ())
        return Answer(
            namespace=ask.namespace,
            endpoint=ask.endpoint,
            from_=steps.from_s,
            to=steps.to_s,
            step=steps.step_s,
            level=steps.level.seconds,
            at=at,
            incomplete_from=_incomplete_from(steps, now_s),
            newest_at=newest_s,
            series=_drawn(
                ask, at, steps, {each: task.result() for each, task in series.items() if task}, found, now_s
            ),
            replica=ask.replica or None,
            summary=summary.result() if summary else None,
            replicas=boxes.replicas_of(found, ask.replica) if "replicas" in ask.parts else None,
            timeline=boxes.timeline_of(found, ask.replica, steps.from_s, steps.to_s)
            if "timeline" in ask.parts
            else None,
            events=boxes.events_of(found, ask.replica, steps.from_s, steps.to_s)
            if "events" in ask.parts
            else None,
        )

    async def _summary(self, whole: Question) -> Summary:
        requests, latency, ttfb = await asyncio.gather(
            read_requests(self.reader, whole),
            read_quantiles(self.reader, whole, "latency"),
            read_quantiles(self.reader, whole, "ttfb"),
        )
        at = whole.origin_s
        return boxes.summary_of(requests.get(at), latency.get(at), ttfb.get(at))


class _Reading:
    """The queries behind groups of series; the counts of requests are read once for all groups that need them."""

    groups: tuple[Literal["counts", "latency", "ttfb", "hardware"], ...] = (
        "counts",
        "latency",
        "ttfb",
        "hardware",
    )

    def __init__(self, reader: Reader, ask: Ask, question: Question) -> None:
        self._reader = reader
        self._ask = ask
        self._question = question

    async def read(self, which: Literal["counts", "latency", "ttfb", "hardware"]) -> Any:
        """Return the rows of a group."""
        if which == "counts":
            return await read_requests(self._reader, self._question)
        if which == "hardware":
            return await read_hardware(self._reader, self._question, self._ask.metrics, self._ask.details)
        return await read_quantiles(self._reader, self._question, which)


def _steps(ask: Ask, now_s: float, reach: Reach) -> Steps:
    from_s, to_s, _ = ask.moments(now_s)
    try:
        return choose_steps(from_s, to_s, ask.step_s, ask.points, MAX_POINTS, now_s, reach)
    except RangeError as error:
        raise AskError(error.what, error.where, error.mend) from error


def _incomplete_from(steps: Steps, now_s: float) -> int | None:
    """Return the first step that may still change, None when all are past."""
    first = int(now_s - SETTLES_S) // steps.step_s * steps.step_s
    return max(first, steps.from_s) if first < steps.to_s else None


def _drawn(
    ask: Ask, at: list[int], steps: Steps, read: dict[str, Any], replicas: Replicas, now_s: float
) -> list[Series]:
    counts: dict[int, RequestStep] = read.get("counts", {})
    series: list[Series] = []
    draw: dict[Group, Callable[[], list[Series]]] = {
        "requests": lambda: columns.request_series(at, counts, ask.by_status),
        "pending": lambda: columns.pending_series(at, counts),
        "latency": lambda: columns.distribution_series("latency", at, counts, read["latency"]),
        "ttfb": lambda: columns.distribution_series("ttfb", at, counts, read["ttfb"]),
        "replicas": lambda: columns.replica_series(at, steps.step_s, replicas, ask.replica, now_s),
        "hardware": lambda: columns.hardware_series(at, read["hardware"], ask.details),
    }
    drawn_hardware = len(read.get("hardware", ()))
    if drawn_hardware > MAX_HARDWARE_SERIES or drawn_hardware * len(at) > MAX_VALUES:
        raise AskError(
            f"{drawn_hardware} series of {len(at)} steps are more than one answer takes",
            "query parameter details",
            "ask for fewer points, fewer metrics, or one replica",
            413,
        )
    for group in ask.groups:
        series += draw[group]()
    return series
