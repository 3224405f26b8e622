"""Durations by bucket of the sketch: what histograms are made of. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Phase = Literal["latency", "ttfb"]
PHASES: tuple[Phase, ...] = ("latency", "ttfb")


class Durations(NamedTuple):
    """Durations by bucket of the sketch (ascending), and their sum."""

    buckets: Sequence[int] = ()
    counts: Sequence[int] = ()
    sum_us: int = 0

    @property
    def total(self) -> int:
        """Return the number of durations."""
        return sum(self.counts)


NO_DURATIONS = Durations()


@dataclass(frozen=True, slots=True)
class ReplicaHistograms:
    """A replica's durations since `created_s`, in seconds since 1970."""

    created_s: int
    durations: Mapping[Phase, Durations]


def merge(parts: Iterable[Durations]) -> Durations:
    """Return the durations of all parts."""
    filled = [part for part in parts if part.buckets]
    if len(filled) < 2:
        return filled[0] if filled else NO_DURATIONS
    found = dict(zip(filled[0].buckets, filled[0].counts, strict=True))
    for part in filled[1:]:
        for bucket, count in zip(part.buckets, part.counts, strict=True):
            found[bucket] = found.get(bucket, 0) + count
    buckets = sorted(found)
    return Durations(
        array("H", buckets),
        array("Q", [found[bucket] for bucket in buckets]),
        sum(part.sum_us for part in filled),
    )
