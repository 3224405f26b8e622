"""Metric families as a neutral model for both renderers.

Nothing specific to a format belongs here: a counter's sample has the suffix `_total` in every format, and a stateset is
a stateset until a renderer converts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from endpoint_analytics.schemas import metrics as names

FamilyType = Literal["counter", "gauge", "summary", "histogram", "stateset"]

Labels = tuple[tuple[str, str], ...]
T = TypeVar("T", str, bytes)


class Sample(NamedTuple):
    """One line: the family's name plus `suffix`, the labels in order, and the value.

    `labels` are shared with other samples, so that they are formatted once; `own` come after them.
    `created_s`: when a counter or summary started, in seconds since 1970. Only protobuf has it: in text it would be a
    sample of its own, which Prometheus stores as a further series, and which Datadog takes for the counter.
    """

    suffix: str
    labels: Labels
    value: float
    created_s: float | None = None
    own: Labels = ()


class ByLabels(dict[int, T], Generic[T]):
    """What `make` returns for labels, in one exposition, by their identity: samples of a replica share theirs.

    To find it by the labels' values would take longer than to make it, for thousands of replicas. Labels are kept,
    since the identity of what no longer exists is given to something else.
    """

    def __init__(self, make: Callable[[Labels], T]) -> None:
        super().__init__()
        self._make: Callable[[Labels], T] = make
        self._kept: list[Labels] = []

    def add(self, labels: Labels) -> T:
        """Return what is made of the labels, which `get(id(labels))` returns from now on."""
        self._kept.append(labels)
        found: T = self._make(labels)
        self[id(labels)] = found
        return found


class NativeBuckets(NamedTuple):
    """Exponential buckets as in a Prometheus native histogram: bucket i holds values up to 2^(i / 2^schema).

    `indexes` ascend. `zero_count` counts zeros.
    """

    schema: int
    indexes: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    zero_count: int


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """One histogram: cumulative counts by upper bound without the last, infinite one, and the native buckets."""

    labels: Labels
    bounds: Sequence[float]
    cumulative: Sequence[int]
    native: NativeBuckets
    count: int
    sum: float
    created_s: float


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """A family with its samples; `unit` is empty if the name does not end with one. Histograms stand for themselves."""

    name: str
    type: FamilyType
    help: str
    unit: str
    samples: tuple[Sample, ...]
    histograms: tuple[Histogram, ...] = ()


_TYPES: dict[str, FamilyType] = {
    "counter": "counter",
    "gauge": "gauge",
    "summary": "summary",
    "histogram": "histogram",
    "stateset": "stateset",
}


def family_of(
    family: names.Family, samples: Iterable[Sample] = (), histograms: Iterable[Histogram] = ()
) -> MetricFamily:
    """Return the named family with these samples or histograms."""
    return MetricFamily(
        family.name, _TYPES[family.type], family.help, family.unit, tuple(samples), tuple(histograms)
    )


def merge(parts: Iterable[Iterable[MetricFamily]]) -> tuple[MetricFamily, ...]:
    """Return one family of each name with the samples of all parts, in the order in which the names first appear.

    A name has the same type, help text and unit in all parts.
    """
    found: dict[str, list[MetricFamily]] = {}
    for families in parts:
        for family in families:
            found.setdefault(family.name, []).append(family)
    return tuple(
        replace(
            same[0],
            samples=tuple(chain.from_iterable(family.samples for family in same)),
            histograms=tuple(chain.from_iterable(family.histograms for family in same)),
        )
        for same in found.values()
    )
