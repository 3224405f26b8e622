"""Families as OpenMetrics 1.0 text. Only the rules of OpenMetrics belong here, nothing about HTTP.

Source of the format: OpenMetrics 1.0, https://github.com/prometheus/OpenMetrics, specification/OpenMetrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from endpoint_analytics.pipeline.exposition.families import ByLabels, Histogram, Labels, MetricFamily
from endpoint_analytics.pipeline.exposition.numbers import number_text, number_texts

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def render(families: Iterable[MetricFamily]) -> bytes:
    """Return the exposition, including `# EOF`, without timestamps. Families stay in order, those without a unit first:
    Prometheus 3 takes the unit of the family before for one that has none.
    """
    lines: list[str] = []
    texts = ByLabels(label_text)
    for family in sorted(families, key=lambda each: bool(each.unit)):
        lines.append(f"# HELP {family.name} {escape(family.help)}")
        lines.append(f"# TYPE {family.name} {family.type}")
        if family.unit:
            lines.append(f"# UNIT {family.name} {family.unit}")
        lines.extend(sample_lines(family, texts))
    lines.append("# EOF\n")
    return "\n".join(lines).encode()


def sample_lines(family: MetricFamily, texts: ByLabels[str]) -> Iterator[str]:
    """Yield the lines of the samples, then those of the histograms; both text formats have the same."""
    name = family.name
    numbers = number_texts([sample.value for sample in family.samples])
    for (suffix, labels, _, _, own), number in zip(family.samples, numbers, strict=True):
        of = texts.get(id(labels)) or texts.add(labels)
        if own:
            of_own = texts.get(id(own)) or texts.add(own)
            of = f"{of},{of_own}" if of else of_own
        yield f"{name}{suffix}{{{of}}} {number}" if of else f"{name}{suffix} {number}"
    for histogram in family.histograms:
        yield from _histogram_lines(name, histogram, texts.add(histogram.labels))


def _histogram_lines(name: str, histogram: Histogram, labels: str) -> Iterator[str]:
    start = f"{name}_bucket{{{labels},le=" if labels else f"{name}_bucket{{le="
    for bound, count in zip(histogram.bounds, histogram.cumulative, strict=True):
        yield f'{start}"{bound}"}} {count}'
    yield f'{start}"+Inf"}} {histogram.count}'
    of = f"{{{labels}}}" if labels else ""
    yield f"{name}_count{of} {histogram.count}"
    yield f"{name}_sum{of} {number_text(histogram.sum)}"


def label_text(labels: Labels) -> str:
    """Return `name="value",...`."""
    return ",".join([f'{name}="{escape(value)}"' for name, value in labels])


def escape(text: str) -> str:
    """Escape a label value or help text; OpenMetrics has the same rule for both."""
    return text.translate(_ESCAPES) if needs_escape(text) else text


def needs_escape(text: str) -> bool:
    """Whether the text contains any of the three escaped characters; most texts do not."""
    return "\\" in text or '"' in text or "\n" in text
