"""Durations by bucket of the sketch: what histograms are made of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Phase = Literal["latency", "ttfb"]
PHASES: tuple[Phase, ...] = ("latency", "ttfb")

BUCKET, COUNT = np.dtype("<u2"), np.dtype("<u8")
"""As they are stored."""


@dataclass(frozen=True, slots=True, eq=False)
class Durations:
    """Durations by bucket of the sketch, and their sum.

    As they are read, a bucket may come several times and in any order; `merge` returns each once, ascending, and the
    counts in as few bytes as they need: those of thousands of replicas are kept.
    """

    buckets: NDArray[np.uint16]
    counts: NDArray[np.unsignedinteger[Any]]
    sum_us: int = 0

    @property
    def total(self) -> int:
        """Return the number of durations."""
        return int(self.counts.sum())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Durations) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]

    def _values(self) -> tuple[Any, ...]:
        return self.buckets.tolist(), self.counts.tolist(), self.sum_us


NO_DURATIONS = Durations(np.zeros(0, BUCKET), np.zeros(0, COUNT))


@dataclass(frozen=True, slots=True)
class ReplicaHistograms:
    """A replica's durations since `created_s`, in seconds since 1970."""

    created_s: int
    durations: Mapping[Phase, Durations]


def merge(parts: Iterable[Durations]) -> Durations:
    """Return the durations of all parts, each bucket once, ascending."""
    filled = [part for part in parts if part.buckets.size]
    if not filled:
        return NO_DURATIONS
    if len(filled) == 1:
        buckets, counts = filled[0].buckets, filled[0].counts
    else:
        buckets = np.concatenate([part.buckets for part in filled])
        counts = np.concatenate([part.counts for part in filled])
    # As floating-point numbers, which are exact up to 2^53.
    sums = np.bincount(buckets, weights=counts)
    found = np.flatnonzero(sums)
    counts = sums[found].astype(COUNT)
    smallest = counts.astype(np.min_scalar_type(int(counts.max(initial=0))))
    return Durations(found.astype(BUCKET), smallest, sum(part.sum_us for part in filled))
