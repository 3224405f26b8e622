from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.pipeline.store.rollup_levels import (
    HOUR,
    LEVELS,
    MINUTE,
    TEN_SECONDS,
    Retention,
    RollupProgress,
)
from endpoint_analytics.pipeline.store.series_plan import EMPTY, RangeError, choose_steps, time_ranges

NOW = 1_700_000_000.0
DAY = 86_400
PROGRESS = RollupProgress(Retention(7, 30, 400), int(NOW) // 60 * 60, int(NOW) // 3600 * 3600)


@given(
    st.integers(0, 9000),
    st.integers(1, 3000),
    st.integers(-100, 12_000),
    st.integers(-100, 12_000),
    st.sampled_from(LEVELS),
)
def test_stretches_cover_the_range_once(begin, length, minutes, hours, coarsest):
    base = 1_700_000_000
    first, last = base + begin * 10, base + (begin + length) * 10
    minute_to = (base + minutes * 10) // 60 * 60
    hour_to = min(minute_to, base + hours * 10) // 3600 * 3600
    read = time_ranges(first, last, coarsest, RollupProgress(Retention(), minute_to, hour_to))
    found = sorted(
        each for part in (read.hours, read.minutes, read.windows) for each in part if each != EMPTY
    )
    found = [each for each in found if each[0] < each[1]]
    assert (found[0][0], found[-1][1]) == (first, last)
    assert all(one[1] == other[0] for one, other in pairwise(found))
    assert all(
        moment % 60 == 0 and moment <= minute_to for each in read.minutes if each != EMPTY for moment in each
    )
    assert all(
        moment % 3600 == 0 and moment <= hour_to for each in read.hours if each != EMPTY for moment in each
    )


def steps(length, step=None, points=300, ago=0.0, progress=PROGRESS):
    return choose_steps(NOW - ago - length, NOW - ago, step, points, 2000, NOW, progress)


@pytest.mark.parametrize(
    ("length", "step", "chosen", "level"),
    [
        (300, None, 10, TEN_SECONDS),
        (900, None, 10, TEN_SECONDS),
        (3600, None, 20, TEN_SECONDS),
        (3 * 3600, None, 60, MINUTE),
        (DAY, None, 300, MINUTE),
        (7 * DAY, None, 3600, HOUR),
        (30 * DAY, None, 10_800, HOUR),
        (900, 1, 10, TEN_SECONDS),
        (900, 25, 30, TEN_SECONDS),
        (3600, 61, 120, MINUTE),
        (DAY, 3601, 7200, HOUR),
    ],
)
def test_the_step_and_its_level(length, step, chosen, level):
    found = steps(length, step)
    assert (found.step_s, found.level) == (chosen, level)
    assert found.from_s % chosen == found.to_s % chosen == 0
    assert found.from_s <= NOW - length
    assert found.to_s >= NOW


def test_what_is_no_longer_kept_is_read_of_a_coarser_level():
    assert steps(900, ago=8 * DAY).level is MINUTE
    assert steps(900, 10, ago=8 * DAY).step_s == 60
    assert steps(900, ago=31 * DAY).level is HOUR
    assert steps(900, 10, ago=31 * DAY).step_s == 3600


def test_a_range_that_cannot_be_answered():
    with pytest.raises(RangeError, match="begins at"):
        steps(0)
    with pytest.raises(RangeError, match="longer than 400 days"):
        steps(403 * DAY)
    with pytest.raises(RangeError, match="at most 2000") as found:
        steps(DAY, 10)
    assert found.value.hint == "use a step of 44 s or more, or a shorter range"
