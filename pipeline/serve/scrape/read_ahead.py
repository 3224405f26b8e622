"""Large expositions, made shortly before their scraper comes: scrapers come at a fixed interval.

What takes long is worth it only for who was on time twice. An answer is made once a visit, as without this, and is not
used later than a second after the visit that it was made for; a scraper that stops coming costs one of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from endpoint_analytics.pipeline.exposition.accept import Format
from endpoint_analytics.pipeline.serve.scrape.scrapes import Scrapes
from endpoint_analytics.pipeline.serve.scrape.selection import Selection
from endpoint_analytics.pipeline.store.scope import Scope
from endpoint_analytics.pipeline.store.shared_cache import Outcome as Lookup

WORTH_S = 0.2
"""An answer that takes less time is made when it is asked for."""
ON_TIME_S = 1.0
"""How far two intervals of a scraper may differ, and how late it may come for what was made for it."""
INTERVALS_S = (3.0, 300.0)
"""The shortest and the longest interval that counts as one."""
LONGEST_LEAD_S = 5.0
"""No answer is begun longer before its visit, so that its figures are as fresh as others'."""
SCRAPERS = 100
"""Scrapers that are remembered."""

Outcome = Literal[Lookup, "ahead"]


@dataclass(frozen=True, slots=True)
class Visitor:
    """A scraper, by its address, and what it asks for each time."""

    address: str
    scope: Scope
    selection: Selection
    form: Format
    gzip_accepted: bool


class Answer(NamedTuple):
    """A body, and whether it is compressed."""

    body: bytes
    is_compressed: bool


class _Made(NamedTuple):
    answer: Answer | None
    outcome: Outcome
    took_s: float


@dataclass(slots=True)
class _Visit:
    """The last visit, with the interval from the one before (0 for the first), and what is made for the next."""

    at_s: float
    interval_s: float
    took_s: float
    timer: asyncio.Task[None] | None = None
    ahead: asyncio.Task[_Made] | None = None

    def end(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class ReadAhead:
    """Answers scrapes; belongs to one event loop."""

    def __init__(self, scrapes: Scrapes, clock: Callable[[], float]) -> None:
        self._scrapes = scrapes
        self._clock = clock
        self._visits: dict[Visitor, _Visit] = {}  # the one that came longest ago first

    def __len__(self) -> int:
        return len(self._scrapes)

    async def answer(self, visitor: Visitor) -> tuple[Answer | None, Outcome]:
        """Return the body, or None if there is no such endpoint, and how it was found.

        Raises StoreError and TooManyScrapesError.
        """
        at_s = self._clock()
        before = self._visits.pop(visitor, None)
        made = None
        if before is not None:
            before.end()
            made = await _succeeded(before.ahead)
        if made is None:
            made = await self._make(visitor, 0.0 if before is None else before.took_s)
        if made.took_s >= WORTH_S:
            self._remember(visitor, before, at_s, made.took_s)
        return made.answer, made.outcome

    async def close(self) -> None:
        """Make no more answers ahead, and wait for those that are being made: they need the database."""
        making = [visit.ahead for visit in self._visits.values() if visit.ahead is not None]
        while self._visits:
            self._visits.popitem()[1].end()
        if making:
            await asyncio.wait(making)

    async def _make(self, visitor: Visitor, took_before_s: float) -> _Made:
        begun_s = self._clock()
        exposition, outcome = await self._scrapes.scrape(visitor.scope, visitor.selection)
        if exposition is None:
            return _Made(None, outcome, 0)
        answer = Answer(*await exposition.body(visitor.form, visitor.gzip_accepted))
        # What others had made says nothing of how long that takes.
        return _Made(answer, outcome, self._clock() - begun_s if outcome == "miss" else took_before_s)

    def _remember(self, visitor: Visitor, before: _Visit | None, at_s: float, took_s: float) -> None:
        at_once = self._visits.pop(visitor, None)  # of two visits that overlap, one knows the visit before
        if at_once is not None:
            if before is None:
                self._visits[visitor] = at_once
                return
            at_once.end()
        visit = _Visit(at_s, 0 if before is None else at_s - before.at_s, took_s)
        if (
            before is not None
            and INTERVALS_S[0] <= visit.interval_s <= INTERVALS_S[1]
            and abs(visit.interval_s - before.interval_s) <= ON_TIME_S
        ):
            visit.timer = asyncio.ensure_future(self._make_ahead(visitor, visit))
        self._visits[visitor] = visit
        if len(self._visits) > SCRAPERS:
            self._forget_one()

    def _forget_one(self) -> None:
        """Forget the scraper that came longest ago, of the namespace that has the most: it takes no other's places."""
        ((namespace, _),) = Counter(each.scope.namespace for each in self._visits).most_common(1)
        oldest = next(each for each in self._visits if each.scope.namespace == namespace)
        self._visits.pop(oldest).end()

    async def _make_ahead(self, visitor: Visitor, visit: _Visit) -> None:
        expected_s = visit.at_s + visit.interval_s
        # Half as long again as it took, since it may take longer; who comes while it is made waits for the rest.
        lead_s = min(1.5 * visit.took_s, LONGEST_LEAD_S, visit.interval_s / 2)
        await asyncio.sleep(max(0.0, expected_s - lead_s - self._clock()))
        visit.ahead = asyncio.ensure_future(self._ahead(visitor, visit.took_s))
        visit.ahead.add_done_callback(_failed)  # retrieves the exception, in case nobody comes
        await asyncio.sleep(max(0.0, expected_s + ON_TIME_S - self._clock()))
        if self._visits.get(visitor) is visit:
            del self._visits[visitor]

    async def _ahead(self, visitor: Visitor, took_before_s: float) -> _Made:
        return (await self._make(visitor, took_before_s))._replace(outcome="ahead")


def _failed(task: asyncio.Task[_Made]) -> bool:
    return task.cancelled() or task.exception() is not None


async def _succeeded(ahead: asyncio.Task[_Made] | None) -> _Made | None:
    """Return what was made ahead, or None if nothing was, or if that had failed: it may work now.

    Raises what it raises while it is waited for: to try again then would take twice as long as scrapers wait.
    """
    if ahead is None or (ahead.done() and _failed(ahead)):
        return None
    return await asyncio.shield(ahead)
