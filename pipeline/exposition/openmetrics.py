"""Families as OpenMetrics 1.0 text. Only the rules of OpenMetrics belong here, nothing about HTTP.

Source of the format: OpenMetrics 1.0, https://github.com/prometheus/OpenMetrics, specification/OpenMetrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from endpoint_analytics.pipeline.exposition.families import Histogram, Labels, MetricFamily
from endpoint_analytics.pipeline.exposition.numbers import number_text

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def render(families: Iterable[MetricFamily]) -> bytes:
    """Return the exposition, including `# EOF`, without timestamps. Families stay in order, those without a unit first:
    Prometheus 3 takes the unit of the family before for one that has none.
    """
    lines: list[str] = []
    for family in sorted(families, key=lambda each: bool(each.unit)):
        lines.append(f"# HELP {family.name} {escape(family.help)}")
        lines.append(f"# TYPE {family.name} {family.type}")
        if family.unit:
            lines.append(f"# UNIT {family.name} {family.unit}")
        lines.extend(sample_lines(family))
    lines.append("# EOF\n")
    return "\n".join(lines).encode()


def sample_lines(family: MetricFamily) -> Iterator[str]:
    """Yield the lines of the samples, then those of the histograms; both text formats have the same."""
    name = family.name
    for suffix, labels, value, _, own in family.samples:
        of = _text(labels)
        if own:
            of = f"{of},{_text(own)}" if of else _text(own)
        of = f"{{{of}}}" if of else ""
        yield f"{name}{suffix}{of} {value if type(value) is int else number_text(value)}"
    for histogram in family.histograms:
        yield from _histogram_lines(name, histogram)


def _histogram_lines(name: str, histogram: Histogram) -> Iterator[str]:
    labels = _text(histogram.labels)
    start = f"{name}_bucket{{{labels},le=" if labels else f"{name}_bucket{{le="
    for bound, count in zip(histogram.bounds, histogram.cumulative, strict=True):
        yield f'{start}"{bound}"}} {count}'
    yield f'{start}"+Inf"}} {histogram.count}'
    of = f"{{{labels}}}" if labels else ""
    yield f"{name}_count{of} {histogram.count}"
    yield f"{name}_sum{of} {number_text(histogram.sum)}"


def escape(text: str) -> str:
    """Escape a label value or help text; OpenMetrics has the same rule for both."""
    return text.translate(_ESCAPES) if needs_escape(text) else text


def needs_escape(text: str) -> bool:
    """Whether the text contains any of the three escaped characters; most texts do not."""
    return "\\" in text or '"' in text or "\n" in text


@lru_cache(maxsize=50_000)
def _text(labels: Labels) -> str:
    """Return `name="value",...`."""
    return ",".join(f'{name}="{escape(value)}"' for name, value in labels)
