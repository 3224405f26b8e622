"""Metric families as a neutral model for both renderers.

Nothing specific to a format belongs here: a counter's sample has the suffix `_total` in every format, and a stateset is
a stateset until a renderer converts it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from endpoint_analytics.schemas import metrics as names

FamilyType = Literal["counter", "gauge", "summary", "histogram", "stateset"]

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: the family's name plus `suffix`, the labels in order, and the value."""

    suffix: str
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """A family with its samples; `unit` is empty if the name does not end with one."""

    name: str
    type: FamilyType
    help: str
    unit: str
    samples: tuple[Sample, ...]


_TYPES: dict[str, FamilyType] = {
    "counter": "counter",
    "gauge": "gauge",
    "summary": "summary",
    "histogram": "histogram",
    "stateset": "stateset",
}


def family_of(family: names.Family, samples: Iterable[Sample]) -> MetricFamily:
    """Return the named family with these samples."""
    return MetricFamily(family.name, _TYPES[family.type], family.help, family.unit, tuple(samples))
