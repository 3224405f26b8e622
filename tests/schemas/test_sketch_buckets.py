"""The buckets of one value: exact bounds, and the same buckets as for arrays."""

from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.pipeline.core.sketch import BUCKETS, buckets_of
from endpoint_analytics.schemas.limits import MAX_COUNT, MAX_DURATION_US
from endpoint_analytics.schemas.sketch_buckets import (
    OFFSET,
    STEPS,
    UPPER_US,
    bucket_of,
    bucket_of_us,
    upper_counts,
)


def is_floor_of_the_bound(bound: int, unit: int, i: int) -> bool:
    """Return whether bound = floor(unit * 2^(i/64)), by integers alone."""
    limit = unit**STEPS << i + 64 * STEPS
    return bound**STEPS << 64 * STEPS <= limit < (bound + 1) ** STEPS << 64 * STEPS


def test_each_bound_of_durations_is_exact():
    wrong = [b for b in range(1, BUCKETS) if not is_floor_of_the_bound(UPPER_US[b], 1_000_000, b - OFFSET)]
    assert wrong == []


def test_each_bound_of_counts_is_exact():
    bounds = upper_counts()
    assert [i for i in range(len(bounds) - 1) if not is_floor_of_the_bound(bounds[1 + i], 1, i)] == []


def test_the_bounds_reach_the_limits_and_no_further_than_needed():
    assert UPPER_US[-2] < MAX_DURATION_US <= UPPER_US[-1]
    assert upper_counts()[-1] == MAX_COUNT
    assert upper_counts()[-2] < MAX_COUNT


def test_durations_around_every_bound_are_in_the_buckets_of_arrays():
    values = sorted({bound + step for bound in UPPER_US for step in range(-2, 3)})
    values = [value for value in values if 0 <= value <= MAX_DURATION_US]
    assert [bucket_of_us(value) for value in values] == buckets_of(np.array(values)).tolist()


def test_the_shortest_durations_are_in_the_buckets_of_arrays():
    assert [bucket_of_us(value) for value in range(200_000)] == buckets_of(np.arange(200_000)).tolist()


@given(st.integers(0, MAX_DURATION_US))
def test_any_duration_is_in_the_bucket_of_arrays(value):
    assert bucket_of_us(value) == buckets_of(np.array([value]))[0]


@pytest.mark.parametrize(("value", "bucket"), [(-5, 0), (MAX_DURATION_US + 10**12, BUCKETS - 1)])
def test_durations_out_of_range_are_in_the_bucket_at_that_end(value, bucket):
    assert bucket_of_us(value) == bucket


@pytest.mark.parametrize(
    ("count", "bucket"),
    [(-1, 0), (0, 0), (1, 1), (2, 65), (3, 1 + 102), (4, 129), (2**53, 1 + 53 * 64), (2**60, 1 + 53 * 64)],
)
def test_counts_double_in_64_buckets(count, bucket):
    assert bucket_of(count) == bucket


def test_counts_around_every_bound_are_in_the_first_bucket_that_reaches_them():
    bounds = upper_counts()
    for bound in set(bounds):
        for count in (bound, min(bound + 1, MAX_COUNT)):
            assert bucket_of(count) == bisect_left(bounds, count)


@given(st.integers(1, MAX_COUNT))
def test_a_count_is_above_the_bound_before_its_bucket(count):
    bucket = bucket_of(count)
    assert upper_counts()[bucket - 1] < count <= upper_counts()[bucket]
