"""The service's own metrics: plain counters, and their families.

Labels are routes, statuses, outcomes and streams, each from a fixed set: nothing here grows with endpoints or tokens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Literal, get_args

from endpoint_analytics.pipeline.exposition.families import MetricFamily, Sample, family_of
from endpoint_analytics.pipeline.serve.http.connections import CLOSABLE, Phase
from endpoint_analytics.pipeline.serve.scrape.read_ahead import Outcome
from endpoint_analytics.pipeline.store.database import QueryCounts
from endpoint_analytics.schemas import service_metrics as names

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

Route = Literal["open_metrics", "api", "session", "page", "health", "ready", "metrics", "other"]


class SelfMetrics:
    """Counts of one process; used only from its event loop."""

    def __init__(self, closed: Mapping[Phase, int] | None = None, queries: QueryCounts | None = None) -> None:
        """`closed` counts closed connections, `queries` counts queries to ClickHouse."""
        self._closed: Mapping[Phase, int] = {} if closed is None else closed
        self.requests: Counter[tuple[Route, int]] = Counter()
        self.lookups: Counter[Outcome] = Counter(dict.fromkeys(get_args(Outcome), 0))
        self.queries = QueryCounts() if queries is None else queries
        self._scrapes = [0] * (len(BOUNDS_S) + 1)
        self._scrape_sum_s = 0.0

    def count_request(self, route: Route, status: int, duration_s: float) -> None:
        """Count an answered request; only scrapes have a duration histogram."""
        self.requests[route, status] += 1
        if route == "open_metrics":
            self._scrapes[bisect_left(BOUNDS_S, duration_s)] += 1
            self._scrape_sum_s += duration_s

    def families(
        self,
        cache_entries: int,
        tokens: int,
        data_timestamp_s: float | None,
        paused: Mapping[str, int] | None,
    ) -> tuple[MetricFamily, ...]:
        """Return all families, given the values known elsewhere."""
        requests = (
            Sample("_total", (("route", route), ("status_code", str(status))), count)
            for (route, status), count in sorted(self.requests.items())
        )
        lookups = (
            Sample("_total", (("outcome", outcome),), count) for outcome, count in self.lookups.items()
        )
        paused_by_stream = (
            Sample("", (("stream", stream),), count) for stream, count in (paused or {}).items()
        )
        closed = (
            Sample("_total", (("waited_for", phase),), self._closed.get(phase, 0)) for phase in CLOSABLE
        )
        families = (
            family_of(names.SERVICE_REQUESTS, requests),
            family_of(names.SCRAPE_DURATION, self._scrape_samples()),
            family_of(names.CLICKHOUSE_QUERIES, (Sample("_total", (), self.queries.queries),)),
            family_of(names.CLICKHOUSE_ERRORS, (Sample("_total", (), self.queries.errors),)),
            family_of(names.CACHE_LOOKUPS, lookups),
            family_of(names.CACHE_ENTRIES, (Sample("", (), cache_entries),)),
            family_of(names.TOKENS_IN_FORCE, (Sample("", (), tokens),)),
            family_of(
                names.NEWEST_DATA, () if data_timestamp_s is None else (Sample("", (), data_timestamp_s),)
            ),
            family_of(names.PAUSED_PARTITIONS, paused_by_stream),
            family_of(names.CLOSED_CONNECTIONS, closed),
        )
        return tuple(family for family in families if family.samples)

    def _scrape_samples(self) -> list[Sample]:
        samples, cumulative = [], 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self._scrapes, strict=True):
            cumulative += count
            samples.append(Sample("_bucket", (("le", bound),), cumulative))
        return [*samples, Sample("_count", (), cumulative), Sample("_sum", (), self._scrape_sum_s)]
