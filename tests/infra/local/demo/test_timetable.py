"""Every entry of the timetable occurs as often as defined, however time is divided."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.infra.local.demo.timetable import TIMETABLE, Recurring, due

TABLE = (Recurring("restart", 120, 300), Recurring("kill", 270, 420))


def test_it_happens_first_at_its_time_and_then_again_and_again() -> None:
    assert due(0, 120, TABLE) == []
    assert due(120, 120.1, TABLE) == ["restart"]
    assert due(120.1, 420, TABLE) == ["kill"]
    assert due(420, 421, TABLE) == ["restart"]


@given(st.lists(st.floats(0, 5000), min_size=2))
def test_nothing_is_lost_or_doubled_between_two_looks(cuts: list[float]) -> None:
    cuts.sort()
    pieces = [event for after, until in itertools.pairwise(cuts) for event in due(after, until)]
    assert sorted(pieces) == sorted(due(cuts[0], cuts[-1]))


def test_the_extra_replica_is_removed_after_it_was_added() -> None:
    first = {entry.event: entry for entry in TIMETABLE}
    assert first["scale up"].first_s < first["scale down"].first_s
    assert first["scale up"].every_s == first["scale down"].every_s
