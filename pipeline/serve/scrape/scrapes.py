"""One endpoint's exposition, made once for all scrapes within a second.

HTTP and tokens do not belong here: a scrape in, bytes out.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from endpoint_analytics.pipeline.exposition.accept import Format
from endpoint_analytics.pipeline.exposition.families import MetricFamily
from endpoint_analytics.pipeline.serve.scrape.endpoint_families import endpoint_families
from endpoint_analytics.pipeline.serve.scrape.signal_families import signal_families
from endpoint_analytics.pipeline.store.endpoint_metrics import MetricsSettings, read_endpoint_metrics
from endpoint_analytics.pipeline.store.endpoint_numbers import EndpointMetrics
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.histograms import HistogramReader, ReplicaHistograms
from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.rollup_levels import RollupProgress
from endpoint_analytics.pipeline.store.shared_cache import Outcome, SharedCache
from endpoint_analytics.pipeline.store.signal_queries import read_signals

log = logging.getLogger(__name__)

GZIP_FROM_BYTES = 1400
"""A smaller body fits into one packet uncompressed."""


def compress(body: bytes) -> bytes:
    """Compress with gzip, deterministically; even the fastest level reduces text metrics to a tenth."""
    return gzip.compress(body, compresslevel=1, mtime=0)


@dataclass(slots=True)
class RenderedExposition:
    """An endpoint's families and the bodies rendered so far."""

    families: tuple[MetricFamily, ...]
    _bodies: dict[tuple[Format, bool], bytes] = field(default_factory=dict)

    def body(self, form: Format, gzip_accepted: bool) -> tuple[bytes, bool]:
        """Return the body and whether it is compressed."""
        plain = self._made(form, False)
        if gzip_accepted and len(plain) >= GZIP_FROM_BYTES:
            return self._made(form, True), True
        return plain, False

    def _made(self, form: Format, compressed: bool) -> bytes:
        body = self._bodies.get((form, compressed))
        if body is None:
            body = compress(self._made(form, False)) if compressed else form.render(self.families)
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
        self._cache: SharedCache[tuple[str, str], RenderedExposition | None] = SharedCache(
            keep_s, entries, clock
        )

    def __len__(self) -> int:
        return len(self._cache)

    async def scrape(self, namespace: str, endpoint: str) -> tuple[RenderedExposition | None, Outcome]:
        """Return the exposition, or None for an endpoint that does not exist; raises StoreError."""

        async def read() -> RenderedExposition | None:
            reader, now = self._reader, self._now()
            async with query_group() as group:
                metrics = group.create_task(self._metrics(namespace, endpoint, now))
                signals = group.create_task(read_signals(reader, namespace, endpoint, now))
            found, histograms = metrics.result()
            if found is None:
                return None
            return RenderedExposition(
                (*endpoint_families(found, histograms), *signal_families(signals.result()))
            )

        return await self._cache.get((namespace, endpoint), read)

    async def _metrics(
        self, namespace: str, endpoint: str, now: datetime
    ) -> tuple[EndpointMetrics | None, dict[str, ReplicaHistograms]]:
        """Return the endpoint's numbers, and the histograms of the replicas in them."""
        found = await read_endpoint_metrics(self._reader, namespace, endpoint, now, self._settings)
        if found is None:
            return None, {}
        replicas = [each.replica_id for each in found.replicas if each.requests is not None]
        try:
            histograms = await self._histograms.read(
                namespace, endpoint, replicas, int(now.timestamp()), await self._progress()
            )
        except StoreError as error:  # all other figures are there
            log.warning("the histograms of %s/%s are left out: %s", namespace, endpoint, error)
            histograms = {}
        return found, histograms
