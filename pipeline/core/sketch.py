"""The latency sketch: maps integer microseconds to logarithmic buckets, and buckets back to quantiles.

Its buckets are those of a Prometheus native histogram of schema 6 and of an OpenTelemetry exponential histogram of
scale 6, in seconds: the one with index i holds durations above 2^((i-1)/64) s and up to 2^(i/64) s. It is stored as
bucket `i + OFFSET`; bucket 0 holds durations of 0. A bucket's value is within 0.55 % of all that it holds. Bounds are
exact integers (schemas/sketch_buckets), so that every machine puts a value into the same bucket. Sketches merge by
adding counts, as ClickHouse's sumMap does. Its quantiles in SQL: `sketchQuantile` (schemas/tables/0002_views.sql), and
`sketch_sql` (pipeline/store/series_sql).

Sources: prometheus.io/docs/specs/native_histograms, opentelemetry.io/docs/specs/otel/metrics/data-model (exponential
histogram: its index is one less, because it names the lower bound).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.schemas.sketch_buckets import OFFSET, STEPS, UPPER_US, upper_counts

BASE = 2.0 ** (1 / STEPS)

_SECOND_US = 1_000_000
# _UPPER[b] is the largest integer of bucket b.
_UPPER = np.array(UPPER_US, dtype=np.int64)
BUCKETS = len(_UPPER)
_SECOND = OFFSET - STEPS * np.log2(float(_SECOND_US))


def buckets_of(values_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket of each value; values must be in [0, MAX_DURATION_US]."""
    with np.errstate(divide="ignore"):
        guess = np.ceil(np.log2(values_us) * STEPS + _SECOND)
    buckets: NDArray[np.int64] = np.maximum(guess, 0.0).astype(np.int64)
    # The logarithm is accurate to one bucket; the integer bounds decide.
    np.minimum(buckets, BUCKETS - 1, out=buckets)
    buckets += values_us > _UPPER[buckets]
    buckets -= values_us <= _UPPER[np.maximum(buckets - 1, 0)]
    np.maximum(buckets, 0, out=buckets)
    return buckets


def count_buckets_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket of each count (tokens, bytes); counts must be in [0, MAX_COUNT]."""
    return np.searchsorted(_upper_counts(), counts)


@cache
def _upper_counts() -> NDArray[np.int64]:
    return np.array(upper_counts(), dtype=np.int64)


def upper_bound_s(bucket: int) -> float:
    """Return the bucket's inclusive upper bound in seconds."""
    return 0.0 if bucket == 0 else float(2.0 ** ((bucket - OFFSET) / STEPS))


def value_of(bucket: int) -> float:
    """Return the bucket's value in microseconds: within 0.55 % of every value in it."""
    return upper_bound_s(bucket) * float(_SECOND_US * 2.0 / (1.0 + BASE))


def quantile(buckets: Sequence[int], counts: Sequence[int], q: float) -> float:
    """Return the q-quantile in microseconds, NaN for an empty sketch; `buckets` must ascend.

    It is the value of the bucket that contains the smallest element that at least the share q of all does not exceed:
    the one of rank ceil(q * n), as in ClickHouse's quantileExactWeighted and Prometheus' histogram_quantile. So 95 %
    of few requests, too, took no longer than their p95.
    """
    return quantiles(buckets, counts, [q])[0]


def quantiles(buckets: Sequence[int], counts: Sequence[int], qs: Sequence[float]) -> list[float]:
    """Return several quantiles at once, as defined by `quantile`."""
    cumulative = np.cumsum(np.asarray(counts, dtype=np.int64))
    if not len(cumulative) or cumulative[-1] == 0:
        return [float("nan")] * len(qs)
    ranks = np.maximum(np.asarray(qs) * int(cumulative[-1]), 1)
    return [value_of(int(buckets[i])) for i in np.searchsorted(cumulative, ranks)]
