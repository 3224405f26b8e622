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
    """The growth of a counter between two looks.

    None at the first look, when the counter went back, and when it is the counter of another thing than before.
    """

    _before: float | None = None
    _of: object = None

    def since_last(self, value: float | None, of: object = None) -> float | None:
        """Return how much `value`, the counter of `of`, has grown since the call before."""
        before = self._before if of == self._of else None
        self._before, self._of = value, of
        if before is None or value is None or value < before:
            return None
        return value - before
