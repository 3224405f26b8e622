"""Limits how many queries run at once, and how many may wait.

An admission queue is used by a single asyncio loop. Once the waiting line is full, further queries are refused with
ClickHouse's TOO_MANY_SIMULTANEOUS_QUERIES, which clients know and retry.
"""

from __future__ import annotations

import asyncio

from endpoint_analytics.infra.local.clickhouse.errors import refusal


class AdmissionQueue:
    """Slots for running queries, with a bounded waiting line."""

    def __init__(self, running: int, waiting: int) -> None:
        self._slots = asyncio.Semaphore(running)
        self._running_limit = running
        self._waiting_limit = waiting
        self._waiting = 0
        self.refused = 0
        """Queries refused since the start."""

    async def enter(self) -> Slot:
        """Wait for a slot; raises ClickHouseError 202 at once when the line is full."""
        if self._slots.locked() and self._waiting >= self._waiting_limit:
            self.refused += 1
            limit = self._running_limit
            raise refusal(
                202,
                f"Too many simultaneous queries. Maximum: {limit} running, {self._waiting_limit} waiting.",
            )
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        return Slot(self._slots)


class Slot:
    """A slot in the admission queue; leaving it again has no effect."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._left = False

    def leave(self) -> None:
        """Release the slot for the next query."""
        if not self._left:
            self._left = True
            self._slots.release()
