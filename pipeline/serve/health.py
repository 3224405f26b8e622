"""Whether the service can answer, and how fresh its data is. Queries ClickHouse at most once a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from endpoint_analytics.pipeline.store.database import Database
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.migrate import APPLIED, schema_state
from endpoint_analytics.pipeline.store.paused_partitions import read_still_paused
from endpoint_analytics.pipeline.store.shared_cache import SharedCache
from endpoint_analytics.schemas.migrations import Migration
from endpoint_analytics.schemas.topics import ENGINE, HARDWARE, OUTCOMES, REPLICAS, REQUESTS

KEEP_S = 1.0

# `chunks` has about one row per hour and partition, kept for 30 days.
NEWEST_DATA = "SELECT count(), max(last_append) FROM chunks"


class Health:
    """Checks ClickHouse for /ready and /metrics. Belongs to one event loop."""

    def __init__(self, database: Database, known: tuple[Migration, ...], clock: Callable[[], float]) -> None:
        self._database = database
        self._known = known
        self._ready: SharedCache[str, str | None] = SharedCache(KEEP_S, 1, clock)
        self._newest: SharedCache[str, float | None] = SharedCache(KEEP_S, 1, clock)
        self._paused: SharedCache[str, Mapping[str, int] | None] = SharedCache(KEEP_S, 1, clock)

    async def not_ready(self) -> str | None:
        """Return why the service cannot answer scrapes, or None if it can."""
        reason, _ = await self._ready.get("ready", self._look)
        return reason

    async def newest_data_s(self) -> float | None:
        """Return when the broker appended the newest stored message; None if there is none or ClickHouse is down."""
        newest, _ = await self._newest.get("newest", self._look_newest)
        return newest

    async def paused_partitions(self) -> Mapping[str, int] | None:
        """Return how many partitions of each stream are paused; None if ClickHouse is down."""
        paused, _ = await self._paused.get("paused", self._look_paused)
        return paused

    async def _look(self) -> str | None:
        try:
            rows = await self._database.read(APPLIED, {})
            schema_state(self._known, rows).check_readable(self._database.where)
        except StoreError as error:
            return str(error)
        return None

    async def _look_newest(self) -> float | None:
        try:
            count, newest = (await self._database.read(NEWEST_DATA, {}))[0]
        except StoreError:
            return None
        return float(newest.timestamp()) if count else None

    async def _look_paused(self) -> Mapping[str, int] | None:
        try:
            paused = [each.stream for each in await read_still_paused(self._database)]
        except StoreError:
            return None
        return {
            topic.suffix: paused.count(topic.suffix)
            for topic in (REQUESTS, HARDWARE, ENGINE, OUTCOMES, REPLICAS)
        }
