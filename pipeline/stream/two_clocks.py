"""Now, by this machine's clock and ClickHouse's.

A partition is said to be read up to a moment, for ever, and where no message comes only a clock says which moment it
is. One that is ahead would make the pipeline look current for as long as it is ahead, even when it stands still. So no
clock is believed alone: the earlier one counts, until the broker's stamps side with the later one.

ClickHouse is asked now and then; in between its clock goes on by ours that never jumps.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.stream.progress import CLOCKS_AGREE_MS, Now

log = logging.getLogger(__name__)

NOW = "SELECT toUnixTimestamp64Milli(now64(3))"
ASK_EVERY_S, ASK_AGAIN_S = 10.0, 0.5


class TwoClocks:
    """`read_clickhouse_ms` asks ClickHouse for its time; `wall_ms` and `steady_ms` are this machine's clocks."""

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
        """Return the time by both; None until ClickHouse has said its own."""
        if self._behind_steady_ms is None:
            return None
        here_ms, there_ms = self._wall_ms(), self._steady_ms() + self._behind_steady_ms
        return Now(min(here_ms, there_ms), max(here_ms, there_ms))

    async def follow_for_ever(self) -> None:
        """Ask ClickHouse for its time again and again; while it does not answer, its clock is taken to go on."""
        while True:
            try:
                await self.ask()
            except (StoreError, ClickHouseError, OSError, TimeoutError) as error:
                log.debug("ClickHouse does not say its time now: %s", error)
                await asyncio.sleep(ASK_AGAIN_S)
            else:
                await asyncio.sleep(ASK_EVERY_S)

    async def ask(self) -> None:
        """Ask ClickHouse once; raises what reading does."""
        asked_ms, asked_steady_ms = self._wall_ms(), self._steady_ms()
        found_ms = await self._read_clickhouse_ms()
        # It said so between question and answer: what it has by now is no earlier. An answer that was long on the way
        # says little, and does not put back what is known and fits it.
        least_ms, most_ms = found_ms - self._steady_ms(), found_ms - asked_steady_ms
        if self._behind_steady_ms is None or not least_ms <= self._behind_steady_ms <= most_ms:
            self._behind_steady_ms = least_ms
        self._compare(asked_ms - found_ms, found_ms - self._wall_ms())

    def _compare(self, ahead_ms: int, behind_ms: int) -> None:
        """Say it when the clocks differ by more than the way to ClickHouse takes, and when they agree again."""
        apart_ms = max(ahead_ms, behind_ms)
        if (apart_ms <= CLOCKS_AGREE_MS) == self._agree:
            return
        self._agree = not self._agree
        if self._agree:
            log.info("this machine's clock and ClickHouse's agree again")
            return
        log.warning(
            "this machine's clock is %.0f s %s ClickHouse's: set the one that is wrong. While no message comes the "
            "earlier one counts, so that a pipeline that stands still is noticed; it may look late for that",
            apart_ms / 1000,
            "ahead of" if ahead_ms > 0 else "behind",
        )
