"""The sketch: buckets by exact bounds, quantiles within 0.55 %, merging in any order."""

import math
from bisect import bisect_left
from collections import Counter
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.pipeline.core.sketch import (
    BUCKETS,
    buckets_of,
    quantile,
    quantiles,
    upper_bound_s,
    value_of,
)
from endpoint_analytics.pipeline.core.sparse import CODES, SparseCounts, count_pairs
from endpoint_analytics.schemas.limits import MAX_DURATION_US

with localcontext() as context:
    context.prec = 60
    BOUNDS = [0] + [
        int(1_000_000 * Decimal(2) ** (Decimal(bucket - 1280) / 64)) for bucket in range(1, BUCKETS)
    ]
ERROR = (2 ** (1 / 64) - 1) / (2 ** (1 / 64) + 1)
QS = (0.0, 0.001, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
durations_us = st.one_of(
    st.integers(0, MAX_DURATION_US),
    st.integers(0, 1_000),
    st.sampled_from(BOUNDS).map(lambda bound: min(bound, MAX_DURATION_US)),
    st.sampled_from(BOUNDS).map(lambda bound: min(bound + 1, MAX_DURATION_US)),
)

rng = np.random.default_rng(7)
SAMPLES = {
    "pareto": (rng.pareto(1.1, 50_000) + 1) * 2_000,
    "lognormal": rng.lognormal(11, 1.5, 50_000),
    "exponential": rng.exponential(200_000, 50_000),
    "uniform over a week": rng.uniform(0, MAX_DURATION_US, 50_000),
    "log-uniform": 10 ** rng.uniform(0, math.log10(MAX_DURATION_US), 50_000),
    "constant": np.full(1_000, 123_457),
    "bimodal": np.concatenate([rng.normal(5_000, 100, 20_000), rng.normal(30_000_000, 500_000, 20_000)]),
    "small": rng.integers(0, 50, 10_000),
    "zeros": np.zeros(100),
    "one": np.array([MAX_DURATION_US]),
    "every bound": np.array(BOUNDS),
    "after every bound": np.array(BOUNDS) + 1,
}
SAMPLES = {name: np.clip(values, 0, MAX_DURATION_US).astype(np.int64) for name, values in SAMPLES.items()}


def sketch(values) -> Counter[int]:
    return Counter(buckets_of(np.asarray(values, dtype=np.int64)).tolist())


def quantile_of(merged: Counter[int], q: float) -> float:
    buckets = sorted(merged)
    return quantile(buckets, [merged[bucket] for bucket in buckets], q)


def test_bounds_reach_a_week_and_no_further_than_needed():
    assert BOUNDS[-2] < MAX_DURATION_US <= BOUNDS[-1]
    assert BUCKETS <= CODES


def test_the_error_keeps_the_promise():
    assert ERROR < 0.0055


@given(durations_us)
def test_buckets_are_those_of_native_histograms_of_schema_6(value):
    """The index of a duration in seconds is the smallest i with seconds <= 2^(i/64)."""
    bucket = int(buckets_of(np.array([value]))[0])
    if value == 0:
        assert (bucket, upper_bound_s(bucket)) == (0, 0.0)
        return
    index = math.ceil(math.log2(value / 1e6) * 64 - 1e-9)
    assert bucket == index + 1280
    assert upper_bound_s(bucket) == pytest.approx(2 ** (index / 64), rel=1e-12)


@given(st.lists(durations_us, min_size=1))
def test_a_value_is_in_the_first_bucket_whose_bound_reaches_it(values):
    assert buckets_of(np.array(values)).tolist() == [bisect_left(BOUNDS, value) for value in values]


def test_every_bound_and_its_neighbours_are_in_their_buckets():
    values = np.array([bound + step for bound in BOUNDS for step in (-1, 0, 1)])
    values = values[(values >= 0) & (values <= MAX_DURATION_US)]
    assert np.array_equal(buckets_of(values), np.searchsorted(BOUNDS, values))


def test_the_shortest_millisecond_is_in_order():
    values = np.arange(1_000_000)
    assert np.array_equal(buckets_of(values), np.searchsorted(BOUNDS, values))


@given(durations_us)
def test_a_buckets_value_is_within_the_error_of_what_it_holds(value):
    reported = value_of(int(buckets_of(np.array([value]))[0]))
    assert abs(reported - value) <= value * ERROR * (1 + 1e-9)


@pytest.mark.parametrize("name", SAMPLES)
def test_quantiles_are_within_the_error_of_the_order_statistic(name):
    values = SAMPLES[name]
    merged = sketch(values)
    for q in QS:
        exact = float(np.quantile(values, q, method="inverted_cdf"))
        assert quantile_of(merged, q) == pytest.approx(exact, rel=ERROR + 1e-9, abs=0)


@given(st.lists(durations_us, min_size=1), st.floats(0, 1))
def test_any_quantile_of_any_values_is_within_the_error(values, q):
    exact = sorted(values)[max(math.ceil(q * len(values)), 1) - 1]
    assert quantile_of(sketch(values), q) == pytest.approx(exact, rel=ERROR + 1e-9, abs=0)


@given(*[st.lists(durations_us)] * 3)
def test_merging_is_associative_and_commutative_and_loses_nothing(a, b, c):
    whole = sketch(a + b + c)
    assert (sketch(a) + sketch(b)) + sketch(c) == sketch(a) + (sketch(b) + sketch(c)) == whole
    assert sketch(b) + sketch(a) == sketch(a) + sketch(b)
    assert whole.total() == len(a) + len(b) + len(c)


@given(st.lists(durations_us, min_size=1))
def test_quantiles_rise(values):
    merged = sketch(values)
    buckets = sorted(merged)
    reported = quantiles(buckets, [merged[bucket] for bucket in buckets], QS)
    assert reported == sorted(reported)


def test_an_empty_sketch_has_no_quantile():
    assert math.isnan(quantile([], [], 0.5))
    assert math.isnan(quantile([3], [0], 0.5))


def test_ranks_are_exact_at_the_edges_of_buckets():
    # 100 values: ten of each bucket; rank ceil(q * 100).
    buckets, counts = list(range(100, 110)), [10] * 10
    for q, rank in (
        (0.0, 1),
        (0.1, 10),
        (0.102, 11),
        (0.5, 50),
        (0.9, 90),
        (0.901, 91),
        (0.99, 99),
        (1.0, 100),
    ):
        assert quantile(buckets, counts, q) == value_of(100 + (rank - 1) // 10)


def test_the_slowest_of_a_few_requests_is_their_p99():
    assert quantiles([100, 200], [4, 1], (0.5, 0.8, 0.95, 0.99)) == [
        value_of(bucket) for bucket in (100, 100, 200, 200)
    ]


rows_and_codes = st.lists(st.tuples(st.integers(0, 6), st.integers(0, CODES - 1)))


@given(st.lists(rows_and_codes, max_size=200))
def test_sparse_counts_are_those_of_a_counter(parts):
    sparse, expected = SparseCounts(), Counter()
    for part in parts:
        expected.update(part)
        rows, codes = (np.array([pair[i] for pair in part], dtype=np.int64) for i in (0, 1))
        sparse.add(*count_pairs(rows, codes))
    every = np.arange(7)
    lengths, codes_of_all, counts_of_all = sparse.of(every)
    ends = np.cumsum(lengths)
    for row in range(7):
        own = slice(ends[row] - lengths[row], ends[row])
        codes, counts = codes_of_all[own], counts_of_all[own]
        found = dict(zip(codes.tolist(), counts.tolist(), strict=True))
        assert found == {code: count for (at, code), count in expected.items() if at == row}
        assert codes.tolist() == sorted(codes.tolist())
