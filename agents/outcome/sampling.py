"""Which requests are described one by one: those that failed, the slowest, and some at random, each up to a bound.

Stateful, but otherwise pure. A sample says from how many it was chosen: all failed ones together, or all others. Made
for many requests at once: a request that is not chosen costs a fraction of a microsecond.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar

Item = TypeVar("Item")
Why = Literal["failed", "slow", "random"]

FAILED_AT_ONCE, SLOW_AT_ONCE, RANDOM_AT_ONCE = 20, 3, 2
"""Requests of each kind between two calls of `take`."""


class Chosen(NamedTuple, Generic[Item]):
    """A chosen request, why, and from how many."""

    item: Item
    why: Why
    of: int


class Sampler(Generic[Item]):
    """Chooses from what `add` is given; `duration` orders requests."""

    def __init__(self, duration: Callable[[Item], Any], rng: random.Random) -> None:
        self._duration = duration
        self._rng = rng
        self._failed = _Uniform[Item](FAILED_AT_ONCE, rng)
        self._ordinary = _Uniform[Item](RANDOM_AT_ONCE, rng)
        self._slow: list[Item] = []

    @property
    def has_failed(self) -> bool:
        """Whether a failed request waits: those are worth a message at once."""
        return bool(self._failed.seen)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._failed.seen or self._ordinary.seen)

    def add(self, ordinary: Sequence[Item], failed: Sequence[Item]) -> None:
        """Consider requests; a failed one is not also a slow or an ordinary one."""
        self._failed.add(failed)
        self._ordinary.add(ordinary)
        self._slow = heapq.nlargest(SLOW_AT_ONCE, [*self._slow, *ordinary], key=self._duration)

    def take(self) -> Sequence[Chosen[Item]]:
        """Return what was chosen since the last call."""
        failures, others, slow = self._failed.seen, self._ordinary.seen, self._slow
        chosen = [Chosen[Item](item, "failed", failures) for item in self._failed.kept]
        chosen += [Chosen[Item](item, "slow", others) for item in slow]
        # One that is slow as well is sent once.
        chosen += [
            Chosen[Item](item, "random", others)
            for item in self._ordinary.kept
            if not any(item is each for each in slow)
        ]
        self._failed, self._ordinary = (
            _Uniform[Item](FAILED_AT_ONCE, self._rng),
            _Uniform[Item](RANDOM_AT_ONCE, self._rng),
        )
        self._slow = []
        return chosen


class _Uniform(Generic[Item]):
    """A uniform choice of at most `most` of all items that were offered."""

    def __init__(self, most: int, rng: random.Random) -> None:
        self.kept: list[Item] = []
        self.seen = 0
        self._most = most
        self._rng = rng

    def add(self, items: Sequence[Item]) -> None:
        """Offer items. How many of them are kept is as if each had been drawn from all, without being put back."""
        old, new = self.seen, len(items)
        self.seen += new
        from_new = 0
        for drawn in range(min(self._most, self.seen)):
            left = old + new - drawn
            if self._rng.random() * left < new - from_new:
                from_new += 1
        if from_new:
            from_old = min(self._most, self.seen) - from_new
            self.kept = self._rng.sample(self.kept, from_old) + self._rng.sample(items, from_new)
