"""The total increase of counters per second, from one response to the next. Pure; its memory is bounded.

As in Prometheus, a counter that decreased was reset to 0. A new counter also started at 0: engines create many counters
on first use. A counter that is missing once is remembered, so that it is not counted again when it returns.
"""

from __future__ import annotations

from collections.abc import Mapping

from endpoint_analytics.agents.scrape.exposition import MAX_SAMPLES

FORGET_AFTER_NS = 10_000_000_000
"""After a longer gap the rate would not describe any moment, so it starts afresh."""


CounterKey = tuple[str, tuple[tuple[str, str], ...]]
"""A counter's name and its sorted labels."""


class CounterRates:
    """Tracks the counters of one metric."""

    def __init__(self) -> None:
        self._before: dict[CounterKey, float] = {}
        self._before_ns: int | None = None

    def per_second(self, counters: Mapping[CounterKey, float], at_ns: int) -> float | None:
        """Return the increase since the previous response; None without one, or while no counter was seen.

        Call it for every response, even without counters. `at_ns` is monotonic.
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
