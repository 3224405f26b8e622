"""How a range is divided into steps, and which stored windows they are read from. Pure: no SQL, no clock.

A level's tables are read where it is rolled up, and finer tables elsewhere: at the newest end, and at the start of a
range that does not begin on a coarse window. No moment is read twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from endpoint_analytics.pipeline.store.rollup_levels import (
    DAY_S,
    HOUR,
    LEVELS,
    MINUTE,
    RollupLevel,
    RollupProgress,
)

NICE_STEPS_S = (
    *(10, 20, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800),
)


class RangeError(ValueError):
    """A range or step cannot be answered; `hint` says what to request instead."""

    def __init__(self, where: str, what: str, hint: str) -> None:
        super().__init__(what)
        self.where, self.what, self.hint = where, what, hint


@dataclass(frozen=True, slots=True)
class Steps:
    """The range [from_s, to_s) in steps of `step_s`, whose figures come from `level`."""

    from_s: int
    to_s: int
    step_s: int
    level: RollupLevel

    @property
    def count(self) -> int:
        """Return the number of steps."""
        return (self.to_s - self.from_s) // self.step_s


TimeRange = tuple[int, int]
EMPTY: TimeRange = (0, 0)


@dataclass(frozen=True, slots=True)
class TimeRanges:
    """What is read of each level: two time ranges, either of which may be empty."""

    hours: tuple[TimeRange, TimeRange]
    minutes: tuple[TimeRange, TimeRange]
    windows: tuple[TimeRange, TimeRange]


def choose_steps(
    from_s: float,
    to_s: float,
    step_s: int | None,
    points: int,
    max_points: int,
    now_s: float,
    progress: RollupProgress,
) -> Steps:
    """Return the steps for a range: of `step_s`, rounded up, or about `points` of them.

    Raises RangeError if there would be more than `max_points`.
    """
    if from_s >= to_s:
        raise RangeError(
            "query parameter from",
            f"the range begins at {from_s!r} and ends at {to_s!r}",
            "choose a start before the end",
        )
    length_s = to_s - from_s
    if length_s > progress.retention.hour * DAY_S + 2 * HOUR.seconds:
        days = progress.retention.hour
        raise RangeError(
            "query parameter from",
            f"the range is longer than {days} days",
            "choose a range within the retention",
        )
    oldest = next(
        (level for level in LEVELS if from_s >= progress.retention.kept_from(level, now_s)), HOUR
    )  # the finest level that is kept for the whole range
    if step_s is None:
        wanted_s = max(length_s / points, oldest.seconds)
        step_s = next((nice for nice in NICE_STEPS_S if nice >= wanted_s), NICE_STEPS_S[-1])
    step_s = max(step_s, oldest.seconds)
    level = next(level for level in reversed(LEVELS) if step_s >= level.seconds or level is LEVELS[0])
    step_s = -(-step_s // level.seconds) * level.seconds
    first, last = int(from_s // step_s) * step_s, -int(-to_s // step_s) * step_s
    if (last - first) // step_s > max_points:
        raise RangeError(
            "query parameter step",
            f"steps of {step_s} s give {(last - first) // step_s} points for this range; "
            f"an answer has at most {max_points}",
            f"use a step of {-(-int(length_s) // max_points)} s or more, or a shorter range",
        )
    return Steps(first, last, step_s, level)


def time_ranges(from_s: int, to_s: int, coarsest: RollupLevel, progress: RollupProgress) -> TimeRanges:
    """Return what to read of each level for [from_s, to_s), using no level coarser than `coarsest`."""
    hours = _inner(from_s, to_s, HOUR, progress.hour_to) if coarsest is HOUR else EMPTY
    outside = _outside(from_s, to_s, hours)
    if coarsest.seconds < MINUTE.seconds:
        return TimeRanges((hours, EMPTY), (EMPTY, EMPTY), (outside[0], outside[1]))
    first = _inner(*outside[0], MINUTE, progress.minute_to)
    second = _inner(*outside[1], MINUTE, progress.minute_to)
    before, between_1 = _outside(*outside[0], first)
    between_2, after = _outside(*outside[1], second)
    # At most two of the four are not empty: next to an inner range, the rolled-up side is empty.
    rest = [
        time_range for time_range in (before, between_1, between_2, after) if time_range[0] < time_range[1]
    ]
    rest += [EMPTY] * (2 - len(rest))
    if len(rest) > 2:
        raise AssertionError(f"{rest} of {from_s} to {to_s} with {progress}")
    return TimeRanges((hours, EMPTY), (first, second), (rest[0], rest[1]))


def _inner(from_s: int, to_s: int, level: RollupLevel, rolled_to: int) -> TimeRange:
    """Return the whole windows of the level in the range that are rolled up."""
    first = -(-from_s // level.seconds) * level.seconds
    last = min(to_s, rolled_to) // level.seconds * level.seconds
    return (first, last) if first < last else EMPTY


def _outside(from_s: int, to_s: int, inner: TimeRange) -> tuple[TimeRange, TimeRange]:
    """Return the parts of the range before and after the inner one; all of it if the inner range is empty."""
    if inner == EMPTY:
        return (from_s, to_s), EMPTY
    return (from_s, inner[0]), (inner[1], to_s)
