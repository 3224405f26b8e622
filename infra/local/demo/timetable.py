"""The timetable of events in the demo's replicas. Pure; times are in seconds since the start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Event = Literal["restart", "kill", "scale up", "scale down"]


@dataclass(frozen=True, slots=True)
class Recurring:
    """An event that occurs at `first_s` and then every `every_s`."""

    event: Event
    first_s: float
    every_s: float

    def times_before(self, at_s: float) -> int:
        """Return how often it has occurred before `at_s`."""
        return max(0, math.ceil((at_s - self.first_s) / self.every_s))


TIMETABLE = (
    Recurring("restart", 120, 300),
    Recurring("scale up", 180, 600),
    Recurring("kill", 270, 420),
    Recurring("scale down", 390, 600),
)


def due(after_s: float, until_s: float, table: tuple[Recurring, ...] = TIMETABLE) -> list[Event]:
    """Return the events from `after_s` to just before `until_s`."""
    return [
        entry.event
        for entry in table
        for _ in range(entry.times_before(until_s) - entry.times_before(after_s))
    ]
