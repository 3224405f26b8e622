"""What a collector returns: the readings of one moment. Only the types belong here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from endpoint_analytics.schemas.hardware import Accelerator


@dataclass(frozen=True, slots=True)
class HardwareReading:
    """Metric name -> value (None: could not be read), for the replica and each of its accelerators.

    The accelerators' columns hold one value each.
    """

    replica: dict[str, float | None] = field(default_factory=dict)
    accelerators: tuple[Accelerator, ...] = ()


class Collector(Protocol):
    """A resource that is read every second. `collect` may block; an exception is logged once."""

    def collect(self, at_ns: int) -> HardwareReading:
        """Return the readings at monotonic time `at_ns`."""
        ...


@dataclass(slots=True)
class Delta:
    """The increase of a counter between two reads.

    None for the first read, if the counter decreased, or if it is now the counter of another object.
    """

    _before: float | None = None
    _of: object = None

    def since_last(self, value: float | None, of: object = None) -> float | None:
        """Return how much `value`, the counter of `of`, has increased since the previous call."""
        before = self._before if of == self._of else None
        self._before, self._of = value, of
        if before is None or value is None or value < before:
            return None
        return value - before
