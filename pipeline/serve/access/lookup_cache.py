"""A cache of one table's active rows, read from ClickHouse every second while it is in use.

All rows are read at once, so that any number of lookups, of known or made-up tokens or sessions, costs few queries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.shared_cache import SharedCache

Entry = TypeVar("Entry")

READ_EVERY_S = 1.0
"""A revoked token or ended session stops working within this time, as long as ClickHouse responds."""
READ_FOR_REFUSAL_S = 0.1
"""Minimum interval between reads that are caused by refusals."""
GOOD_FOR_S = 4.0
"""Maximum age of the rows used while ClickHouse does not respond."""


class LookupCache(Generic[Entry]):
    """Entries by their public id. `read` returns all active ones. Belongs to one event loop."""

    def __init__(
        self, read: Callable[[], Awaitable[Mapping[str, Entry]]], clock: Callable[[], float]
    ) -> None:
        self._read_all = read
        self._clock = clock
        self._reads: SharedCache[str, None] = SharedCache(0.0, 1, clock)
        self._entries: Mapping[str, Entry] = {}
        self._read_s = float("-inf")

    def __len__(self) -> int:
        return len(self._entries)

    async def find(self, entry_id: str) -> Entry | None:
        """Return the entry of this id, at most READ_EVERY_S old; raises StoreError if it cannot be checked."""
        if self._clock() >= self._read_s + READ_EVERY_S:
            await self._refresh(tolerant=True)
        return self._entries.get(entry_id)

    async def pick(
        self, pick: Callable[[Mapping[str, Entry]], Entry | None], *, again: bool = True
    ) -> Entry | None:
        """Return the entry that `pick` selects; raises StoreError if it cannot be checked.

        If none fits, it may be new, so the rows are read once more before it is refused, unless `again` is False. All
        refusals take the same path and time, whatever the cause.
        """
        asked_s = self._clock()
        if asked_s >= self._read_s + READ_EVERY_S:
            await self._refresh(tolerant=True)
        found = pick(self._entries)
        while again and found is None and self._read_s < asked_s:
            await asyncio.sleep(self._read_s + READ_FOR_REFUSAL_S - self._clock())
            await self._refresh(tolerant=False)
            found = pick(self._entries)
        return found

    async def _refresh(self, *, tolerant: bool) -> None:
        """Read the rows, or join a read in progress. If that fails, a tolerant caller uses recent ones."""
        try:
            await self._reads.get("rows", self._read)
        except StoreError:
            if not tolerant or self._clock() >= self._read_s + GOOD_FOR_S:
                raise

    async def _read(self) -> None:
        asked_s = self._clock()
        self._entries = await self._read_all()
        self._read_s = asked_s
