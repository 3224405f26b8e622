"""How fast counters grow together: from one answer to the next, per second. Pure; its memory is bounded.

As in Prometheus, a counter that went back began again at 0. One that was not in the answer before began at 0 too:
engines make many a counter when they first need it. One that is missing once is remembered, so that it does not
count anew when it comes back.
"""

from __future__ import annotations

from collections.abc import Mapping

from endpoint_analytics.agents.scrape.exposition import MAX_SAMPLES

FORGET_AFTER_NS = 10_000_000_000
"""After a longer time without an answer the rate would say little of any moment: it begins anew."""


CounterKey = tuple[str, tuple[tuple[str, str], ...]]
"""A counter's name, and its labels in order."""


class Growth:
    """Of the counters of one metric."""

    def __init__(self) -> None:
        self._before: dict[CounterKey, float] = {}
        self._before_ns: int | None = None

    def per_second(self, counters: Mapping[CounterKey, float], at_ns: int) -> float | None:
        """Return the growth since the answer before, None without one and while no counter was seen.

        To be called at every answer, also without counters. `at_ns` is of the monotonic clock.
        """
        before, before_ns = self._before, self._before_ns
        self._before_ns = at_ns
        if before_ns is None or not 0 < at_ns - before_ns <= FORGET_AFTER_NS:
            self._before = dict(counters)
            return None
        if not counters and not before:
            return None
        growth = sum(
            value - before[key] if key in before and before[key] <= value else value
            for key, value in counters.items()
        )
        self._before = {**before, **counters} if len(before) < MAX_SAMPLES else dict(counters)
        return growth / ((at_ns - before_ns) / 1e9)
