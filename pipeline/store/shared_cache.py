"""A bounded cache that runs each lookup once and shares the result among concurrent callers.

It knows nothing about endpoints or HTTP. A failure is shared by those who wait for it, but not cached.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Outcome = Literal["hit", "joined", "miss"]


@dataclass(slots=True)
class _Entry(Generic[Value]):
    task: asyncio.Task[Value]
    expires_s: float


class SharedCache(Generic[Key, Value]):
    """Values by key, each kept for `keep_s` from the start of its lookup; the oldest is evicted when it is full.

    A lookup removes what is no longer kept.
    """

    def __init__(self, keep_s: float, entries: int, clock: Callable[[], float]) -> None:
        self._keep_s = keep_s
        self._bound = entries
        self._clock = clock
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: Key, read: Callable[[], Awaitable[Value]]) -> tuple[Value, Outcome]:
        """Return the value and whether it was a hit; raises what `read` raises.

        A caller that is cancelled (its client disconnected) does not cancel the lookup for the others.
        """
        entry = self._entries.get(key)
        if entry is not None and not entry.task.done():
            return await asyncio.shield(entry.task), "joined"
        if entry is not None and self._clock() < entry.expires_s and not _failed(entry.task):
            return entry.task.result(), "hit"
        self._remove_expired()
        entry = _Entry(asyncio.ensure_future(_awaited(read)), self._clock() + self._keep_s)
        entry.task.add_done_callback(_failed)  # retrieves the exception, in case nobody waits any longer
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > self._bound:
            self._entries.popitem(last=False)
        return await asyncio.shield(entry.task), "miss"

    def _remove_expired(self) -> None:
        """Remove the oldest entries that are not kept any longer, up to one whose lookup still runs."""
        now_s = self._clock()
        while self._entries:
            oldest = next(iter(self._entries))
            entry = self._entries[oldest]
            if entry.expires_s > now_s or not entry.task.done():
                return
            del self._entries[oldest]


def _failed(task: asyncio.Task[Value]) -> bool:
    return task.cancelled() or task.exception() is not None


async def _awaited(read: Callable[[], Awaitable[Value]]) -> Value:
    return await read()
