"""A rate limit per key: a burst, then a steady rate.

Keeps bounded state and does no I/O. The algorithm is the virtual scheduling form of GCRA (ITU-T I.371), which stores
the next conforming time of each key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MAX_KEYS = 10_000
"""Only the most recent keys are kept; a client with more addresses than this has no limit anyway."""


class RateLimit:
    """Allows `burst` at once, then one every `every_s` seconds."""

    def __init__(self, burst: int, every_s: float, clock: Callable[[], float]) -> None:
        self._slack_s = (burst - 1) * every_s
        self._every_s = every_s
        self._clock = clock
        self._next_s: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Return the seconds until the next one is allowed; 0 if it is allowed now."""
        now_s = self._clock()
        return max(0.0, self._next_s.get(key, now_s) - self._slack_s - now_s)

    def count(self, key: str) -> None:
        """Count one."""
        self._next_s[key] = max(self._next_s.get(key, 0.0), self._clock()) + self._every_s
        self._next_s.move_to_end(key)
        if len(self._next_s) > MAX_KEYS:
            self._next_s.popitem(last=False)

    def take_back(self, key: str) -> None:
        """Undo one count."""
        if key in self._next_s:
            self._next_s[key] -= self._every_s
