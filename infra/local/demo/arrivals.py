"""When requests arrive: a Poisson process whose rate follows a slow wave, plus bursts. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arrivals:
    """`rate` is the mean number of requests per second, including bursts; a wave of `wave_s` represents a day."""

    rate: float = 30.0
    wave_s: float = 900.0
    wave_depth: float = 0.5
    burst_share: float = 0.15
    burst_mean: float = 36.0
    burst_s: float = 0.25

    def level(self, at_s: float) -> float:
        """Return the wave's level at a time, 1 on average."""
        return 1 + self.wave_depth * math.sin(2 * math.pi * at_s / self.wave_s)

    def times(self, rng: random.Random) -> Iterator[float]:
        """Yield arrival times in seconds since the start, in order, without end.

        The rate varies by thinning (Lewis and Shedler, 1979).
        """
        steady = self.rate * (1 - self.burst_share)
        highest = steady * (1 + self.wave_depth)
        at_s, burst_at_s = 0.0, self._next_burst(0.0, rng)
        waiting: list[float] = []
        while True:
            at_s += rng.expovariate(highest)
            while burst_at_s <= at_s:
                size = max(2, round(rng.gammavariate(3, self.burst_mean / 3)))
                waiting += [burst_at_s + rng.random() * self.burst_s for _ in range(size)]
                waiting.sort()
                burst_at_s = self._next_burst(burst_at_s, rng)
            while waiting and waiting[0] <= at_s:
                yield waiting.pop(0)
            if rng.random() * (1 + self.wave_depth) <= self.level(at_s):
                yield at_s

    def _next_burst(self, after_s: float, rng: random.Random) -> float:
        return after_s + rng.expovariate(self.rate * self.burst_share / self.burst_mean)
