"""The current time, by this machine's clock and ClickHouse's.

A report that a partition is read up to a moment is final, and if no messages arrive, only a clock tells that moment. A
clock that is ahead would make the pipeline look current for that long, even if it is stuck. So no single clock is
trusted: the earlier one counts, unless the broker's timestamps agree with the later one.

ClickHouse's time is queried now and then; in between it is extrapolated by our monotonic clock.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.stream.partition_progress import CLOCKS_AGREE_MS, Now

log = logging.getLogger(__name__)

NOW = "SELECT toUnixTimestamp64Milli(now64(3))"
QUERY_EVERY_S, RETRY_S = 10.0, 0.5


class TwoClocks:
    """`read_clickhouse_ms` queries ClickHouse's time; `wall_ms` and `steady_ms` are this machine's clocks."""

    def __init__(
        self,
        read_clickhouse_ms: Callable[[], Awaitable[int]],
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        steady_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
    ) -> None:
        self._read_clickhouse_ms = read_clickhouse_ms
        self._wall_ms = wall_ms
        self._steady_ms = steady_ms
        self._behind_steady_ms: int | None = None
        self._agree = True

    def now(self) -> Now | None:
        """Return the time by both clocks, or None until ClickHouse's time is known."""
        if self._behind_steady_ms is None:
            return None
        local_ms, server_ms = self._wall_ms(), self._steady_ms() + self._behind_steady_ms
        return Now(min(local_ms, server_ms), max(local_ms, server_ms))

    async def follow(self) -> None:
        """Query ClickHouse's time forever; while it does not respond, its clock is assumed to advance normally."""
        while True:
            try:
                await self.query()
            except (StoreError, ClickHouseError, OSError, TimeoutError) as error:
                log.debug("ClickHouse's time cannot be queried now: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                await asyncio.sleep(QUERY_EVERY_S)

    async def query(self) -> None:
        """Query ClickHouse's time once; raises what `read_clickhouse_ms` raises."""
        asked_ms, asked_steady_ms = self._wall_ms(), self._steady_ms()
        found_ms = await self._read_clickhouse_ms()
        # ClickHouse read its clock between request and response, so its time now is no earlier. A slow response is
        # imprecise and must not replace a known value that is consistent with it.
        lowest_ms, highest_ms = found_ms - self._steady_ms(), found_ms - asked_steady_ms
        if self._behind_steady_ms is None or not lowest_ms <= self._behind_steady_ms <= highest_ms:
            self._behind_steady_ms = lowest_ms
        self._compare(asked_ms - found_ms, found_ms - self._wall_ms())

    def _compare(self, ahead_ms: int, behind_ms: int) -> None:
        """Log when the clocks differ by more than the latency to ClickHouse, and when they agree again."""
        apart_ms = max(ahead_ms, behind_ms)
        if (apart_ms <= CLOCKS_AGREE_MS) == self._agree:
            return
        self._agree = not self._agree
        if self._agree:
            log.info("this machine's clock and ClickHouse's agree again")
            return
        log.warning(
            "this machine's clock is %.0f s %s ClickHouse's: correct the wrong one. While no messages arrive, the "
            "earlier one counts, so that a stuck pipeline is noticed; a healthy pipeline may look late meanwhile",
            apart_ms / 1000,
            "ahead of" if ahead_ms > 0 else "behind",
        )
