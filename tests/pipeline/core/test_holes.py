"""Holes of a log: however they are reported, the next offset past them is the same."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from endpoint_analytics.pipeline.core.holes import Holes

RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)).map(lambda hole: (hole[0], sum(hole))))


@given(RANGES, st.integers(0, 50))
@example([(0, 10), (2, 3)], 5)
def test_past_is_the_first_offset_that_no_hole_holds(ranges: list[tuple[int, int]], offset: int) -> None:
    holes = Holes()
    for first, last in ranges:
        holes.add(first, last)
    empty = {n for first, last in ranges for n in range(first, last + 1)}
    assert holes.past(offset) == next(n for n in range(offset, 100) if n not in empty)


@given(RANGES, st.integers(0, 50), st.integers(0, 10))
def test_what_is_forgotten_lies_before(ranges: list[tuple[int, int]], offset: int, more: int) -> None:
    holes, all_holes = Holes(), Holes()
    for first, last in ranges:
        holes.add(first, last)
        all_holes.add(first, last)
    holes.forget_before(offset)
    assert holes.past(offset + more) == all_holes.past(offset + more)
    assert len(holes) <= len(all_holes)


@given(RANGES)
def test_adjacent_holes_are_one_and_others_are_not(ranges: list[tuple[int, int]]) -> None:
    holes = Holes()
    for first, last in ranges:
        holes.add(first, last)
    empty = {n for first, last in ranges for n in range(first, last + 1)}
    assert len(holes) == sum(n - 1 not in empty for n in empty)
