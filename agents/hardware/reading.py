"""What a collector gives: the readings of one moment. Only the shapes belong here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from endpoint_analytics.schemas.hardware import Accelerator


@dataclass(frozen=True, slots=True)
class Reading:
    """Metric name -> value (None: could not be read), of the replica and of each of its accelerators.

    The columns of the accelerators hold one value each.
    """

    replica: dict[str, float | None] = field(default_factory=dict)
    accelerators: tuple[Accelerator, ...] = ()


class Collector(Protocol):
    """A resource that can be read each second. `collect` may block; what it raises is logged once."""

    def collect(self, at_ns: int) -> Reading:
        """Return the readings at `at_ns` of the monotonic clock."""
        ...


@dataclass(slots=True)
class Delta:
    """The growth of a counter between two looks; None at the first look and when the counter went back."""

    _before: float | None = None

    def since_last(self, value: float | None) -> float | None:
        """Return how much `value` has grown since the call before."""
        before, self._before = self._before, value
        if before is None or value is None or value < before:
            return None
        return value - before
