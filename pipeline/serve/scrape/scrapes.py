"""Expositions of one endpoint or of many, made once for all scrapes within a second.

HTTP and tokens do not belong here: a scrape in, bytes out. What takes long is computed in a thread, so that no other
client waits for it.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from endpoint_analytics.pipeline.exposition.accept import Format
from endpoint_analytics.pipeline.exposition.families import Labels, MetricFamily, merge
from endpoint_analytics.pipeline.serve.scrape.endpoint_families import endpoint_families
from endpoint_analytics.pipeline.serve.scrape.selection import ALL, Selection
from endpoint_analytics.pipeline.serve.scrape.signal_families import signal_families
from endpoint_analytics.pipeline.store.durations import ReplicaHistograms
from endpoint_analytics.pipeline.store.endpoint_metrics import MetricsSettings, ScopeMetrics, read_metrics
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.histograms import HistogramReader
from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.rollup_levels import RollupProgress
from endpoint_analytics.pipeline.store.scope import Key, Scope
from endpoint_analytics.pipeline.store.shared_cache import Outcome, SharedCache
from endpoint_analytics.pipeline.store.signal_queries import read_all_signals
from endpoint_analytics.pipeline.store.signals import EndpointSignals
from endpoint_analytics.schemas import metrics as names

log = logging.getLogger(__name__)

GZIP_FROM_BYTES = 1400
"""A smaller body fits into one packet uncompressed."""
_HISTOGRAMS = (names.LATENCY_SECONDS.name, names.TIME_TO_FIRST_BYTE_SECONDS.name)

ENDPOINT_LABELS = ("endpoint_namespace", "endpoint_name")
"""Labels of samples beside those of other endpoints: `namespace` and `endpoint` are often labels of scrape targets."""

Histograms = Mapping[Key, Mapping[str, ReplicaHistograms]]


def compress(body: bytes) -> bytes:
    """Compress with gzip, deterministically; even the fastest level reduces text metrics to a tenth."""
    return gzip.compress(body, compresslevel=1, mtime=0)


@dataclass(slots=True)
class RenderedExposition:
    """Families and the bodies rendered so far."""

    families: tuple[MetricFamily, ...]
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
            if compressed:
                body = await asyncio.to_thread(compress, await self._made(form, False))
            else:
                body = await asyncio.to_thread(form.render, self.families)
            self._bodies[form, compressed] = body
        return body


class Scrapes:
    """Answers scrapes from a bounded cache in front of the queries."""

    def __init__(
        self,
        reader: Reader,
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
        self._cache: SharedCache[tuple[Scope, Selection], RenderedExposition | None] = SharedCache(
            keep_s, entries, clock
        )

    def __len__(self) -> int:
        return len(self._cache)

    async def scrape(
        self, scope: Scope, selection: Selection = ALL
    ) -> tuple[RenderedExposition | None, Outcome]:
        """Return the exposition of the scope's endpoints, or None if there are none; raises StoreError.

        The samples of a single endpoint have no labels that name it.
        """
        return await self._cache.get((scope, selection), lambda: self._read(scope, selection))

    async def _read(self, scope: Scope, selection: Selection) -> RenderedExposition | None:
        is_one = bool(scope.endpoint)
        if selection.endpoints is not None and scope.namespace:
            scope = scope.of(Key(scope.namespace, name) for name in selection.endpoints)
        now = self._now()
        async with query_group() as group:
            metrics = group.create_task(self._metrics(scope, selection, now))
            signals = group.create_task(read_all_signals(self._reader, now, scope))
        found, histograms = metrics.result()
        if not found.endpoints:
            return None
        return RenderedExposition(
            await asyncio.to_thread(_families, found, histograms, signals.result(), selection, is_one=is_one)
        )

    async def _metrics(
        self, scope: Scope, selection: Selection, now: datetime
    ) -> tuple[ScopeMetrics, Histograms]:
        """Return the numbers of the endpoints, and the histograms of the replicas in them."""
        found = await read_metrics(self._reader, scope, now, self._settings)
        if not selection.has_any_family(_HISTOGRAMS):
            return found, {}
        shown = {
            key: {
                each.replica_id: int(each.requests.first_at.timestamp())
                for each in metrics.replicas
                if each.requests is not None
            }
            for key, metrics in found.endpoints.items()
        }
        try:
            histograms = await self._histograms.read(
                scope, shown, found.heard_from, int(now.timestamp()), await self._progress()
            )
        except StoreError as error:  # all other figures are there
            log.warning("the histograms of %s are left out: %s", scope, error)
            histograms = {}
        return found, histograms


def _families(
    found: ScopeMetrics,
    histograms: Histograms,
    signals: Mapping[Key, EndpointSignals],
    selection: Selection,
    *,
    is_one: bool,
) -> tuple[MetricFamily, ...]:
    parts = []
    for key, metrics in found.endpoints.items():
        if selection.has_endpoint(key.endpoint):
            of: Labels = () if is_one else tuple(zip(ENDPOINT_LABELS, key, strict=True))
            parts.append(endpoint_families(metrics, histograms.get(key, {}), of=of, selection=selection))
            parts.append(signal_families(signals.get(key), of=of, selection=selection))
    return merge(parts)
