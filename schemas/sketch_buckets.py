"""The bounds of the sketches' logarithmic buckets, as exact integers, and the bucket of one value. No numpy.

A sketch doubles its bounds in STEPS steps, as a Prometheus native histogram of schema 6 does. There are two of them:

- Durations in microseconds: bucket b > 0 holds (2^((b-1-OFFSET)/64) s, 2^((b-OFFSET)/64) s], bucket 0 holds 0.
- Counts (tokens, bytes): bucket 1 + i holds (2^((i-1)/64), 2^(i/64)], bucket 0 holds 0. Most buckets of small counts
  hold no integer: 1 is in bucket 1, 2 in bucket 65.

`pipeline/core/sketch` finds the same buckets for arrays. Source: prometheus.io/docs/specs/native_histograms.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from math import isqrt

from endpoint_analytics.schemas.limits import MAX_COUNT, MAX_DURATION_US

SCHEMA = 6
"""Buckets double in 2^SCHEMA steps."""
STEPS = 2**SCHEMA
OFFSET = 20 * STEPS
"""The bucket of durations whose upper bound is one second. A microsecond, 2^-19.93 s, is in a bucket above 0."""

_SECOND_US = 1_000_000
_PRECISION_BITS = 128


def _roots() -> tuple[int, ...]:
    """Return floor(2^(j/STEPS) * 2^_PRECISION_BITS) for each j below STEPS.

    A square root taken SCHEMA times, each rounded down, is the root of degree STEPS, rounded down.
    """
    roots = []
    for j in range(STEPS):
        root = 1 << (j + STEPS * _PRECISION_BITS)
        for _ in range(SCHEMA):
            root = isqrt(root)
        roots.append(root)
    return tuple(roots)


_ROOTS = _roots()


def _upper_bounds(unit: int, lowest: int, largest: int) -> tuple[int, ...]:
    """Return 0, then floor(unit * 2^(i/STEPS)) for each i from `lowest` to the first that is at least `largest`.

    That rounding down the root too never changes a bound is proven by the tests, in integers.
    """
    bounds = [0]
    i = lowest
    while bounds[-1] < largest:
        doublings, j = divmod(i, STEPS)
        bounds.append(unit * _ROOTS[j] >> (_PRECISION_BITS - doublings))
        i += 1
    return tuple(bounds)


UPPER_US = _upper_bounds(_SECOND_US, 1 - OFFSET, MAX_DURATION_US)
"""UPPER_US[b] is the largest integer of bucket b of durations, in microseconds."""

# Without the last bound, what is above it falls into the last bucket too.
_INNER_US = UPPER_US[:-1]


@cache
def upper_counts() -> tuple[int, ...]:
    """Return the largest integer of each bucket of counts; the last one is MAX_COUNT, 2^53."""
    return _upper_bounds(1, 0, MAX_COUNT)


def bucket_of_us(duration_us: int) -> int:
    """Return the bucket of a duration; those above MAX_DURATION_US are in the last one, negative ones in bucket 0."""
    return bisect_left(_INNER_US, duration_us)


def bucket_of(count: int) -> int:
    """Return the bucket of a count; those above MAX_COUNT are in the last one, negative ones in bucket 0."""
    bounds = upper_counts()
    return bisect_left(bounds, count, 0, len(bounds) - 1)
