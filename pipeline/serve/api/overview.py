"""The overview page's list: every endpoint of a namespace with its figures of the last minutes and sparklines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from endpoint_analytics.pipeline.serve.api.columns import of_class
from endpoint_analytics.pipeline.serve.api.models import EndpointCard, Endpoints, Spark
from endpoint_analytics.pipeline.serve.api.summary import paused_of
from endpoint_analytics.pipeline.store.listed_endpoints import read_listed
from endpoint_analytics.pipeline.store.paused_partitions import read_still_paused
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.progress import read_progress
from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.rollup_levels import MINUTE, RollupProgress
from endpoint_analytics.pipeline.store.scope import Key, Scope
from endpoint_analytics.pipeline.store.series import (
    QUANTILES,
    RequestStep,
    SeriesQuery,
    read_quantiles_of_all,
    read_requests_of_all,
)
from endpoint_analytics.pipeline.store.series_overview import EndpointNow, read_endpoints
from endpoint_analytics.pipeline.store.series_plan import time_ranges

STEP_S = 60
STEPS = 30
OVER_S = 300
"""Rates, shares and p95 cover this many seconds: whole 10 s windows, without the newest one."""
_P95 = QUANTILES.index(0.95)


@dataclass(frozen=True, slots=True)
class Overview:
    """Answers for namespaces from a reader; `progress` returns how far each level is rolled up."""

    reader: Reader
    progress: Callable[[], Awaitable[RollupProgress]]
    presence: Presence
    now_s: Callable[[], float]

    async def listed(self, scope: Scope) -> list[Key]:
        """Return the endpoints to scrape, by namespace and name; raises StoreError."""
        progress, now = await read_progress(self.reader), datetime.fromtimestamp(self.now_s(), UTC)
        return await read_listed(self.reader, scope, progress, self.presence, now)

    async def endpoints(self, namespace: str) -> Endpoints:
        """Return the list; raises StoreError."""
        now_s = self.now_s()
        progress = await self.progress()
        last = -int(-now_s // STEP_S) * STEP_S
        first = last - STEPS * STEP_S
        recent = int(now_s) // 10 * 10
        spark = SeriesQuery(namespace, "", "", first, STEP_S, time_ranges(first, last, MINUTE, progress))
        over = SeriesQuery(
            namespace, "", "", recent - OVER_S, OVER_S, time_ranges(recent - OVER_S, recent, MINUTE, progress)
        )
        async with query_group() as group:
            now = datetime.fromtimestamp(now_s, UTC)
            endpoints = group.create_task(read_endpoints(self.reader, namespace, now, self.presence))
            spark_requests = group.create_task(read_requests_of_all(self.reader, spark))
            spark_quantiles = group.create_task(read_quantiles_of_all(self.reader, spark, "latency"))
            over_requests = group.create_task(read_requests_of_all(self.reader, over))
            over_quantiles = group.create_task(read_quantiles_of_all(self.reader, over, "latency"))
            paused = group.create_task(read_still_paused(self.reader))
        at = list(range(first, last, STEP_S))
        cards = []
        for each in endpoints.result():
            name = each.endpoint
            lines = _spark(at, spark_requests.result().get(name, {}), spark_quantiles.result().get(name, {}))
            step = over_requests.result().get(name, {}).get(over.origin_s)
            quantiles = over_quantiles.result().get(name, {}).get(over.origin_s)
            cards.append(_card(each, step, quantiles, lines))
        return Endpoints(namespace, STEP_S, OVER_S, at, cards, paused_of(paused.result()))


def _final(step: RequestStep) -> int:
    return sum(count for status, count in step.status.items() if status >= 200)


def _card(
    now: EndpointNow, step: RequestStep | None, quantiles: tuple[float, ...] | None, lines: Spark
) -> EndpointCard:
    final = _final(step) if step else 0
    covered_s = step.covered_us / 1e6 if step else 0.0
    return EndpointCard(
        endpoint=now.endpoint,
        running=now.running,
        replicas=now.replicas,
        unknown_since=now.unknown_since_s,
        min_replicas=now.min_replicas,
        max_replicas=now.max_replicas,
        request_rate=final / covered_s if covered_s else None,
        error_share=of_class(step, 5) / final if step and final else None,
        p95_seconds=quantiles[_P95] if quantiles else None,
        pending=now.pending,
        newest_at=now.newest_at_s,
        spark=lines,
    )


def _spark(
    at: list[int], steps: Mapping[int, RequestStep], quantiles: Mapping[int, tuple[float, ...]]
) -> Spark:
    found = [steps.get(moment) for moment in at]
    return Spark(
        requests=[_final(step) if step else None for step in found],
        errors=[of_class(step, 5) if step else None for step in found],
        p95=[quantiles[moment][_P95] if moment in quantiles else None for moment in at],
        pending=[
            step.pending_request_us / step.covered_us if step and step.covered_us else None for step in found
        ],
    )
