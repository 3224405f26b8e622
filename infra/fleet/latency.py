"""How long requests take: the distributions of a fleet's latencies. Pure; values are drawn from the given rng."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from endpoint_analytics.schemas.limits import MAX_DURATION_US

_DEFAULTS: dict[str, tuple[float, ...]] = {
    "lognormal": (0.05, 0.8),
    "pareto": (0.01, 1.5),
    "constant": (0.05,),
    "bimodal": (0.02, 1.5, 0.1),
}


def _lognormal(rng: random.Random, median_s: float, sigma: float) -> float:
    return median_s * rng.lognormvariate(0.0, sigma)


def _pareto(rng: random.Random, least_s: float, alpha: float) -> float:
    return least_s * rng.paretovariate(alpha)


def _constant(_: random.Random, seconds: float) -> float:
    return seconds


def _bimodal(rng: random.Random, fast_s: float, slow_s: float, slow_share: float) -> float:
    return (slow_s if rng.random() < slow_share else fast_s) * rng.uniform(0.9, 1.1)


_DISTRIBUTIONS: dict[str, Callable[..., float]] = {
    "lognormal": _lognormal,
    "pareto": _pareto,
    "constant": _constant,
    "bimodal": _bimodal,
}

FORMS = "lognormal[:MEDIAN_S:SIGMA], pareto[:LEAST_S:ALPHA], constant[:SECONDS], bimodal[:FAST_S:SLOW_S:SLOW_SHARE]"


@dataclass(frozen=True, slots=True)
class LatencyDistribution:
    """A latency distribution by name, with its parameters (durations in seconds)."""

    name: str
    parameters: tuple[float, ...]

    def draw_us(self, rng: random.Random) -> int:
        """Return a duration in microseconds, from 0 to the longest that a message can hold."""
        seconds = _DISTRIBUTIONS[self.name](rng, *self.parameters)
        return min(int(seconds * 1e6), MAX_DURATION_US)


def parse_latency(text: str) -> LatencyDistribution:
    """Parse a distribution such as `pareto` or `lognormal:0.05:0.8`; raises ValueError."""
    name, *given = text.split(":")
    if name not in _DEFAULTS:
        raise ValueError(f"{text!r} is not a known latency distribution; expected {FORMS}")
    parameters = tuple(map(float, given)) or _DEFAULTS[name]
    if len(parameters) != len(_DEFAULTS[name]) or min(parameters) < 0:
        raise ValueError(f"{text!r} has the wrong parameters: {FORMS}")
    return LatencyDistribution(name, parameters)
