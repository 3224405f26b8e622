"""How many queries run at once, and how many may wait for that.

One asyncio loop uses a gate. What finds the waiting line full is refused with ClickHouse's
TOO_MANY_SIMULTANEOUS_QUERIES, which clients know and retry.
"""

from __future__ import annotations

import asyncio

from endpoint_analytics.infra.clickhouse.errors import refusal


class Gate:
    """Places for running queries, with a bounded line before them."""

    def __init__(self, running: int, waiting: int) -> None:
        self._places = asyncio.Semaphore(running)
        self._running_limit = running
        self._waiting_limit = waiting
        self._waiting = 0
        self.refused = 0
        """Queries turned away since the start."""

    async def enter(self) -> Place:
        """Wait for a place; raises ClickHouseError 202 at once when the line is full."""
        if self._places.locked() and self._waiting >= self._waiting_limit:
            self.refused += 1
            limit = self._running_limit
            raise refusal(
                202,
                f"Too many simultaneous queries. Maximum: {limit} running, {self._waiting_limit} waiting.",
            )
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        return Place(self._places)


class Place:
    """A place in the gate; leaving it twice is leaving it once."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._left = False

    def leave(self) -> None:
        """Let the next one in."""
        if not self._left:
            self._left = True
            self._places.release()
