"""Which steps a range is cut into, and which stored windows they are read from. Pure: no SQL, no clock.

A level's tables are read where it is rolled up, a finer one's where it is not yet: the newest stretch, and in
a range that does not begin on a coarse window its first. No moment is read twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from endpoint_analytics.pipeline.store.rollup_levels import DAY_S, HOUR, LEVELS, MINUTE, Level, RollupProgress

NICE_STEPS_S = (
    *(10, 20, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800),
)


class RangeError(ValueError):
    """A range or a step that cannot be answered; `hint` says what to ask instead."""

    def __init__(self, where: str, what: str, hint: str) -> None:
        super().__init__(what)
        self.where, self.what, self.hint = where, what, hint


@dataclass(frozen=True, slots=True)
class Steps:
    """The range [from_s, to_s) in steps of `step_s`, whose figures come from `level`."""

    from_s: int
    to_s: int
    step_s: int
    level: Level

    @property
    def count(self) -> int:
        """How many steps there are."""
        return (self.to_s - self.from_s) // self.step_s


Stretch = tuple[int, int]
NOWHERE: Stretch = (0, 0)


@dataclass(frozen=True, slots=True)
class TimeRanges:
    """What is read of each level: a first and a second stretch, either of which may be empty."""

    hours: tuple[Stretch, Stretch]
    minutes: tuple[Stretch, Stretch]
    windows: tuple[Stretch, Stretch]


def choose_steps(
    from_s: float,
    to_s: float,
    step_s: int | None,
    points: int,
    max_points: int,
    now_s: float,
    reach: RollupProgress,
) -> Steps:
    """Return the steps for a range: of `step_s`, rounded up, or so many that there are about `points`.

    Raises RangeError when there would be more than `max_points`.
    """
    if from_s >= to_s:
        raise RangeError(
            "query parameter from",
            f"the range begins at {from_s:g} and ends at {to_s:g}",
            "let it begin before it ends",
        )
    length_s = to_s - from_s
    if length_s > reach.retention.hour * DAY_S + 2 * HOUR.seconds:
        days = reach.retention.hour
        raise RangeError(
            "query parameter from", f"the range is longer than {days} days", "ask for what is kept"
        )
    oldest = next(
        (level for level in LEVELS if from_s >= reach.retention.kept_from(level, now_s)), HOUR
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
            f"steps of {step_s} s make {(last - first) // step_s} points of this range; "
            f"an answer has at most {max_points}",
            f"ask for a step of {-(-int(length_s) // max_points)} s or more, or for a shorter range",
        )
    return Steps(first, last, step_s, level)


def time_ranges(from_s: int, to_s: int, coarsest: Level, reach: RollupProgress) -> TimeRanges:
    """Return what to read of each level for [from_s, to_s), using none coarser than `coarsest`."""
    hours = _inner(from_s, to_s, HOUR, reach.hour_to) if coarsest is HOUR else NOWHERE
    outside = _outside(from_s, to_s, hours)
    if coarsest.seconds < MINUTE.seconds:
        return TimeRanges((hours, NOWHERE), (NOWHERE, NOWHERE), (outside[0], outside[1]))
    first = _inner(*outside[0], MINUTE, reach.minute_to)
    second = _inner(*outside[1], MINUTE, reach.minute_to)
    before, between_1 = _outside(*outside[0], first)
    between_2, after = _outside(*outside[1], second)
    # Of the four, two can hold anything: what lies beside an inner stretch on its rolled-up side is empty.
    rest = [stretch for stretch in (before, between_1, between_2, after) if stretch[0] < stretch[1]]
    rest += [NOWHERE] * (2 - len(rest))
    if len(rest) > 2:
        raise AssertionError(f"{rest} of {from_s} to {to_s} with {reach}")
    return TimeRanges((hours, NOWHERE), (first, second), (rest[0], rest[1]))


def _inner(from_s: int, to_s: int, level: Level, rolled_to: int) -> Stretch:
    """Return the whole windows of the level in the range that are rolled up."""
    first = -(-from_s // level.seconds) * level.seconds
    last = min(to_s, rolled_to) // level.seconds * level.seconds
    return (first, last) if first < last else NOWHERE


def _outside(from_s: int, to_s: int, inner: Stretch) -> tuple[Stretch, Stretch]:
    """Return what the range has before and after the inner stretch; the whole of it when that is empty."""
    if inner == NOWHERE:
        return (from_s, to_s), NOWHERE
    return (from_s, inner[0]), (inner[1], to_s)
