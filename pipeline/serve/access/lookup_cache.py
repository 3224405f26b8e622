"""Rows in force of one table, read from ClickHouse every second while they are asked for.

The whole book is read at once, so that any number of tokens or sessions, known or made up, costs few queries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.shared_cache import SharedCache

Entry = TypeVar("Entry")

READ_EVERY_S = 1.0
"""What was revoked or ended opens nothing after it, as long as ClickHouse answers."""
READ_FOR_REFUSAL_S = 0.1
"""Refusals make the book be read at most so often."""
GOOD_FOR_S = 4.0
"""When ClickHouse does not answer, the book is used until it is so old."""


class LookupCache(Generic[Entry]):
    """Entries by their public id; belongs to one event loop. `read` gives all that are in force."""

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
        """Return the entry of this id, at most READ_EVERY_S old; raises StoreError when that cannot be told."""
        if self._clock() >= self._read_s + READ_EVERY_S:
            await self._refresh(tolerant=True)
        return self._entries.get(entry_id)

    async def pick(
        self, pick: Callable[[Mapping[str, Entry]], Entry | None], *, again: bool = True
    ) -> Entry | None:
        """Return what `pick` takes of the entries; raises StoreError when that cannot be told.

        What does not fit may be new, so the book is read once more before it is refused, unless not `again`: whatever
        is wrong with it, a refusal takes the same way and as long.
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
        """Read the book, or join who reads it; when it cannot be read, a tolerant asker takes a recent one."""
        try:
            await self._reads.get("book", self._read)
        except StoreError:
            if not tolerant or self._clock() >= self._read_s + GOOD_FOR_S:
                raise

    async def _read(self) -> None:
        asked_s = self._clock()
        self._entries = await self._read_all()
        self._read_s = asked_s
