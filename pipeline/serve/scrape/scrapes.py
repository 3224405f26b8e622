"""Expositions of one endpoint or of many, made once for all scrapes within a second.

HTTP and tokens do not belong here: a scrape in, bytes out. What takes long is computed in a thread, so that no other
client waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import cramjam

from endpoint_analytics.pipeline.exposition.accept import Format
from endpoint_analytics.pipeline.exposition.families import Labels, MetricFamily, merge
from endpoint_analytics.pipeline.serve.scrape.endpoint_families import (
    HARDWARE,
    HISTOGRAMS,
    OTHERS,
    SUMMARIES,
    endpoint_families,
)
from endpoint_analytics.pipeline.serve.scrape.selection import ALL, Selection
from endpoint_analytics.pipeline.serve.scrape.signal_families import FAMILIES, signal_families
from endpoint_analytics.pipeline.store.durations import ReplicaHistograms
from endpoint_analytics.pipeline.store.endpoint_metrics import (
    HeardFrom,
    MetricsSettings,
    Wanted,
    read_metrics,
)
from endpoint_analytics.pipeline.store.endpoint_numbers import EndpointMetrics
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.histograms import HistogramReader
from endpoint_analytics.pipeline.store.progress import read_progress
from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.read_model import Moment
from endpoint_analytics.pipeline.store.reader import BinaryReader
from endpoint_analytics.pipeline.store.rollup_levels import RollupProgress
from endpoint_analytics.pipeline.store.scope import Key, Scope
from endpoint_analytics.pipeline.store.shared_cache import Outcome, SharedCache
from endpoint_analytics.pipeline.store.signal_queries import read_all_signals
from endpoint_analytics.pipeline.store.signals import EndpointSignals

log = logging.getLogger(__name__)

GZIP_FROM_BYTES = 1400
"""A smaller body fits into one packet uncompressed."""

HISTOGRAMS_WITHIN_S = 3.0
"""Scrapers give up after 10 s, and then have nothing. What was read until then is kept."""
MOST_AT_ONCE = 16
"""Different scrapes of a whole namespace that are computed at once: more than its scrapers need."""
LARGE_FROM_REPLICAS = 300
"""Rendering more takes a tenth of a second or longer."""
ENDPOINT_LABELS = ("endpoint_namespace", "endpoint_name")
"""Labels of samples beside those of other endpoints: `namespace` and `endpoint` are often labels of scrape targets."""

Histograms = Mapping[Key, Mapping[str, ReplicaHistograms]]


def compress(body: bytes) -> bytes:
    """Compress with gzip; even the fastest level reduces text metrics to a tenth, in half of the time of zlib."""
    return bytes(cramjam.gzip.compress(body, level=1))


class TooManyScrapesError(Exception):
    """More different scrapes of one namespace at once than are served."""


@dataclass(slots=True)
class RenderedExposition:
    """Families and the bodies rendered so far; `turns` limits how many are rendered at once."""

    families: tuple[MetricFamily, ...]
    turns: asyncio.Semaphore
    _bodies: dict[tuple[Format, bool], bytes] = field(default_factory=dict)
    _rendering: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def body(self, form: Format, gzip_accepted: bool) -> tuple[bytes, bool]:
        """Return the body and whether it is compressed."""
        async with self._rendering:
            plain = await self._made(form, False)
            if gzip_accepted and len(plain) >= GZIP_FROM_BYTES:
                return await self._made(form, True), True
            return plain, False

    async def _made(self, form: Format, compressed: bool) -> bytes:
        body = self._bodies.get((form, compressed))
        if body is None:
            plain = await self._made(form, False) if compressed else b""
            async with self.turns:
                if compressed:
                    body = await asyncio.to_thread(compress, plain)
                else:
                    body = await asyncio.to_thread(form.render, self.families)
            self._bodies[form, compressed] = body
        return body


class _Parts(NamedTuple):
    """What is read for a selection, since the rest takes long for thousands of replicas."""

    metrics: Wanted
    histograms: bool
    signals: bool

    @classmethod
    def of(cls, selection: Selection) -> _Parts:
        has_replicas = selection.replicas is None or bool(selection.replicas)
        wanted = Wanted(
            quantiles=selection.has_any_family(SUMMARIES),
            hardware=has_replicas and selection.has_any_family(HARDWARE),
            # Agents may be configured to send metrics of any name.
            engine=has_replicas
            and not selection.is_within((*SUMMARIES, *HISTOGRAMS, *HARDWARE, *OTHERS, *_SIGNALS)),
        )
        return cls(
            wanted, has_replicas and selection.has_any_family(HISTOGRAMS), selection.has_any_family(_SIGNALS)
        )


_SIGNALS = tuple(family.name for family in FAMILIES)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What was read of a scope."""

    metrics: Mapping[Key, EndpointMetrics]
    histograms: Histograms
    signals: Mapping[Key, EndpointSignals]

    @property
    def replicas(self) -> int:
        """Return the number of replicas."""
        return sum(len(each.replicas) for each in self.metrics.values())


class Scrapes:
    """Answers scrapes from a bounded cache in front of the queries.

    What is read of a scope is shared by all selections that need the same parts of it. Large expositions are rendered
    one after another, so that small ones of others do not wait for them.
    """

    def __init__(
        self,
        reader: BinaryReader,
        settings: MetricsSettings,
        progress: Callable[[], Awaitable[RollupProgress]],
        *,
        keep_s: float,
        entries: int,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._settings = settings
        self._now = now
        self._histograms = HistogramReader(reader, entries)
        self._progress = progress
        self._numbers: SharedCache[tuple[Scope, _Parts], _Numbers] = SharedCache(keep_s, entries, clock)
        self._cache: SharedCache[tuple[Scope, Selection], RenderedExposition | None] = SharedCache(
            keep_s, entries, clock
        )
        self._large_turns, self._small_turns = asyncio.Semaphore(1), asyncio.Semaphore(4)
        self._at_once: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._cache)

    async def scrape(
        self, scope: Scope, selection: Selection = ALL
    ) -> tuple[RenderedExposition | None, Outcome]:
        """Return the exposition of the scope's endpoints, or None if there are none, or none of the selected ones.

        The samples of a single endpoint have no labels that name it. Raises StoreError and TooManyScrapesError.
        """
        return await self._cache.get((scope, selection), lambda: self._limited(scope, selection))

    async def _limited(self, scope: Scope, selection: Selection) -> RenderedExposition | None:
        if scope.endpoint:
            return await self._exposition(scope, selection)
        if self._at_once[scope.namespace] >= MOST_AT_ONCE:
            raise TooManyScrapesError
        self._at_once[scope.namespace] += 1
        try:
            return await self._exposition(scope, selection)
        finally:
            self._at_once[scope.namespace] -= 1
            self._at_once += Counter()  # without those that are 0

    async def _exposition(self, scope: Scope, selection: Selection) -> RenderedExposition | None:
        is_one = bool(scope.endpoint)
        if scope.namespace and selection.endpoints is not None and len(selection.endpoints) == 1:
            # Not as its own scope, which has an endpoint that has left, too.
            (only,) = selection.endpoints
            scope = Scope(scope.namespace, only=(Key(scope.namespace, only),))
        parts = _Parts.of(selection)
        numbers, _ = await self._numbers.get((scope, parts), lambda: self._read(scope, parts))
        if not any(selection.has_endpoint(key.endpoint) for key in numbers.metrics):
            return None
        turns = self._large_turns if numbers.replicas > LARGE_FROM_REPLICAS else self._small_turns
        async with turns:
            families = await asyncio.to_thread(_families, numbers, selection, is_one=is_one)
        return RenderedExposition(families, turns)

    async def _read(self, scope: Scope, parts: _Parts) -> _Numbers:
        now = self._now()
        moment = Moment(await read_progress(self._reader), self._settings.presence, now)
        async with query_group() as group:
            metrics = group.create_task(
                read_metrics(self._reader, scope, moment, self._settings.quantile_window, parts.metrics)
            )
            histograms = (
                group.create_task(self._histograms_of(scope, moment, metrics)) if parts.histograms else None
            )
            signals = (
                group.create_task(read_all_signals(self._reader, now, scope, moment.progress))
                if parts.signals
                else None
            )
        return _Numbers(
            metrics.result(), histograms.result() if histograms else {}, signals.result() if signals else {}
        )

    async def _histograms_of(
        self, scope: Scope, moment: Moment, metrics: asyncio.Task[dict[Key, EndpointMetrics]]
    ) -> Histograms:
        """Return the histograms of the replicas in `metrics`; the last minutes are read at the same time as these."""
        try:
            async with asyncio.timeout(HISTOGRAMS_WITHIN_S) as limit:
                newest = await self._histograms.begin(
                    scope, HeardFrom.at(moment), int(moment.now.timestamp()), await self._progress()
                )
                limit.reschedule(None)  # the other queries have limits of their own
                shown = _first_seen(await metrics)
                limit.reschedule(asyncio.get_running_loop().time() + HISTOGRAMS_WITHIN_S)
                return await self._histograms.read(shown, newest)
        except (StoreError, TimeoutError) as error:  # all other figures are there
            why = str(error) or f"they took longer than {HISTOGRAMS_WITHIN_S:g} s"
            log.warning("the histograms of %s are left out: %s", scope, why)
            return {}


def _first_seen(found: Mapping[Key, EndpointMetrics]) -> dict[Key, dict[str, int]]:
    """Return when each replica with requests was first seen, in seconds since 1970."""
    return {
        key: {
            each.replica_id: int(each.requests.first_at.timestamp())
            for each in metrics.replicas
            if each.requests is not None
        }
        for key, metrics in found.items()
    }


def _families(numbers: _Numbers, selection: Selection, *, is_one: bool) -> tuple[MetricFamily, ...]:
    parts = []
    for key, metrics in numbers.metrics.items():
        if selection.has_endpoint(key.endpoint):
            of: Labels = () if is_one else tuple(zip(ENDPOINT_LABELS, key, strict=True))
            histograms, signals = numbers.histograms.get(key, {}), numbers.signals.get(key)
            parts.append(endpoint_families(metrics, histograms, of=of, selection=selection))
            parts.append(signal_families(signals, of=of, selection=selection))
    return merge(parts)
