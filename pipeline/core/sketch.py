"""The latency sketch: maps integer microseconds to logarithmic buckets, and buckets back to quantiles.

A DDSketch (Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
guarantees", VLDB 2019) with relative error 1 %: gamma = 1.01 / 0.99. Bucket 0 contains 0; bucket b >= 1 contains
the integers x with gamma^(b-2) < x <= gamma^(b-1). Bounds are exact integers, so that every machine puts a value into
the same bucket. Sketches merge by adding counts, as ClickHouse's sumMap does.
Its quantiles in SQL: `sketchQuantile` (schemas/tables/0002_views.sql), and `sketch_sql` (pipeline/store/series_sql).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.schemas.limits import MAX_DURATION_US

_NUMERATOR, _DENOMINATOR = 101, 99  # gamma as a fraction
GAMMA = _NUMERATOR / _DENOMINATOR


def _upper_bounds(largest: int) -> list[int]:
    """Return floor(gamma^i) for i = 0, 1, 2 ... up to the first that is at least `largest`."""
    bounds = [1]
    numerator, denominator = 1, 1
    while bounds[-1] < largest:
        numerator *= _NUMERATOR
        denominator *= _DENOMINATOR
        bounds.append(numerator // denominator)
    return bounds


# _UPPER[b] is the largest integer of bucket b.
_UPPER = np.array([0, *_upper_bounds(MAX_DURATION_US)], dtype=np.int64)
BUCKETS = len(_UPPER)
_SCALE = 1.0 / np.log(GAMMA)


def buckets_of(values_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket of each value; values must be in [0, MAX_DURATION_US]."""
    with np.errstate(divide="ignore"):
        guess = np.ceil(np.log(values_us) * _SCALE)
    buckets: NDArray[np.int64] = np.maximum(guess, -1.0).astype(np.int64) + 1
    # The logarithm is accurate to one bucket; the integer bounds decide.
    np.minimum(buckets, BUCKETS - 1, out=buckets)
    buckets += values_us > _UPPER[buckets]
    buckets -= values_us <= _UPPER[np.maximum(buckets - 1, 0)]
    np.maximum(buckets, 0, out=buckets)
    return buckets


def value_of(bucket: int) -> float:
    """Return the bucket's value in microseconds: within 1 % of every value in it."""
    return 0.0 if bucket == 0 else 2.0 * GAMMA ** (bucket - 1) / (1.0 + GAMMA)


def quantile(buckets: Sequence[int], counts: Sequence[int], q: float) -> float:
    """Return the q-quantile in microseconds, NaN for an empty sketch; `buckets` must ascend.

    It is the value of the bucket that contains the element at index floor(q * (n - 1)) of the sorted values.
    """
    return quantiles(buckets, counts, [q])[0]


def quantiles(buckets: Sequence[int], counts: Sequence[int], qs: Sequence[float]) -> list[float]:
    """Return several quantiles at once, as defined by `quantile`."""
    cumulative = np.cumsum(np.asarray(counts, dtype=np.int64))
    if not len(cumulative) or cumulative[-1] == 0:
        return [float("nan")] * len(qs)
    ranks = np.asarray(qs) * (int(cumulative[-1]) - 1)
    return [value_of(int(buckets[i])) for i in np.searchsorted(cumulative, ranks, side="right")]
