"""One endpoint's exposition, made once for all scrapes within a second.

HTTP and tokens do not belong here: a scrape in, bytes out.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from endpoint_analytics.pipeline.exposition import openmetrics, prometheus_text
from endpoint_analytics.pipeline.exposition.accept import OPENMETRICS, Format
from endpoint_analytics.pipeline.exposition.families import MetricFamily
from endpoint_analytics.pipeline.serve.scrape.endpoint_families import endpoint_families
from endpoint_analytics.pipeline.serve.scrape.signal_families import signal_families
from endpoint_analytics.pipeline.store.endpoint_metrics import MetricsSettings, read_endpoint_metrics
from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.shared_cache import Outcome, SharedCache
from endpoint_analytics.pipeline.store.signal_queries import read_signals

GZIP_FROM_BYTES = 1400
"""A smaller body fits into one packet uncompressed."""


def render(families: tuple[MetricFamily, ...], form: Format) -> bytes:
    """Return the families as text in this format."""
    return openmetrics.render(families) if form is OPENMETRICS else prometheus_text.render(families)


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
            body = compress(self._made(form, False)) if compressed else render(self.families, form)
            self._bodies[form, compressed] = body
        return body


class Scrapes:
    """Answers scrapes from a bounded cache in front of the queries."""

    def __init__(
        self,
        reader: Reader,
        settings: MetricsSettings,
        *,
        keep_s: float,
        entries: int,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._settings = settings
        self._now = now
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
                metrics = group.create_task(
                    read_endpoint_metrics(reader, namespace, endpoint, now, self._settings)
                )
                signals = group.create_task(read_signals(reader, namespace, endpoint, now))
            found = metrics.result()
            if found is None:
                return None
            return RenderedExposition((*endpoint_families(found), *signal_families(signals.result())))

        return await self._cache.get((namespace, endpoint), read)
