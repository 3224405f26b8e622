"""What happens to the demo's replicas, and when: a table. Pure; times are seconds since the start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Happening = Literal["restart", "kill", "scale up", "scale down"]


@dataclass(frozen=True, slots=True)
class Recurring:
    """Happens at `first_s` and then every `every_s`."""

    happening: Happening
    first_s: float
    every_s: float

    def times_before(self, at_s: float) -> int:
        """How often it has happened before `at_s`."""
        return max(0, math.ceil((at_s - self.first_s) / self.every_s))


TIMETABLE = (
    Recurring("restart", 120, 300),
    Recurring("scale up", 180, 600),
    Recurring("kill", 270, 420),
    Recurring("scale down", 390, 600),
)


def due(after_s: float, until_s: float, table: tuple[Recurring, ...] = TIMETABLE) -> list[Happening]:
    """Return what happens from `after_s` to just before `until_s`."""
    return [
        entry.happening
        for entry in table
        for _ in range(entry.times_before(until_s) - entry.times_before(after_s))
    ]
