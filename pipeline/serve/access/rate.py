"""How often something may be done, for each of many keys: some at once, and then one after the other.

Pure but for its memory, which is bounded. This is the virtual scheduling of GCRA (ITU-T I.371): a key's next time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MAX_KEYS = 10_000
"""Keys that are remembered, the newest; who has that many addresses has that many rates."""


class Rate:
    """`burst` at once, and one each `every_s`."""

    def __init__(self, burst: int, every_s: float, clock: Callable[[], float]) -> None:
        self._slack_s = (burst - 1) * every_s
        self._every_s = every_s
        self._clock = clock
        self._next_s: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Return how long until it may be done again; 0 when it may now."""
        now_s = self._clock()
        return max(0.0, self._next_s.get(key, now_s) - self._slack_s - now_s)

    def count(self, key: str) -> None:
        """Count that it was done."""
        self._next_s[key] = max(self._next_s.get(key, 0.0), self._clock()) + self._every_s
        self._next_s.move_to_end(key)
        if len(self._next_s) > MAX_KEYS:
            self._next_s.popitem(last=False)

    def take_back(self, key: str) -> None:
        """Take back what was counted once, as it was not done after all."""
        if key in self._next_s:
            self._next_s[key] -= self._every_s
