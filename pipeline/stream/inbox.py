"""What Faust has delivered of a topic and the reader has not taken yet: a read waits until there are many messages.

A fold has a fixed cost whatever it folds, so few large reads are cheaper than many small ones. What waits is bounded.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

ENOUGH_MESSAGES = 4_000
ENOUGH_BYTES = 16 * 1024 * 1024


class Inbox:
    """The events of one topic, each a `Fetched`, for one reader."""

    def __init__(self, gather_s: float) -> None:
        """Gather for so long after the first event, unless there is enough before."""
        self._gather_s = gather_s
        self._events: list[Any] = []
        self._messages = self._bytes = 0
        self._arrived, self._enough, self._taken = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def put(self, event: Any) -> None:
        """Add an event; waits while there is enough."""
        while self._enough.is_set():
            self._taken.clear()
            await self._taken.wait()
        records, size_bytes = event.message.value
        self._events.append(event)
        self._messages += len(records)
        self._bytes += size_bytes
        self._arrived.set()
        if self._messages >= ENOUGH_MESSAGES or self._bytes >= ENOUGH_BYTES:
            self._enough.set()

    async def take(self) -> list[Any]:
        """Return what was gathered, at least one event; waits for it."""
        await self._arrived.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._gather_s):
                await self._enough.wait()
        events, self._events = self._events, []
        self._messages = self._bytes = 0
        self._arrived.clear()
        self._enough.clear()
        self._taken.set()
        return events
