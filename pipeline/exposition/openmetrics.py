"""Families as OpenMetrics 1.0 text. Only the rules of OpenMetrics belong here, nothing about HTTP.

Source of the format: OpenMetrics 1.0, https://github.com/prometheus/OpenMetrics, specification/OpenMetrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from endpoint_analytics.pipeline.exposition.families import Labels, MetricFamily
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
        lines.extend(
            f"{family.name}{sample.suffix}{label_text(sample.labels)} {number_text(sample.value)}"
            for sample in family.lines()
        )
    lines.append("# EOF\n")
    return "\n".join(lines).encode()


def escape(text: str) -> str:
    """Escape a label value or help text; OpenMetrics has the same rule for both."""
    return text.translate(_ESCAPES) if needs_escape(text) else text


def needs_escape(text: str) -> bool:
    """Whether the text contains any of the three escaped characters; most texts do not."""
    return "\\" in text or '"' in text or "\n" in text


def label_text(labels: Labels) -> str:
    """Return `{name="value",...}`, or "" without labels."""
    if not labels:
        return ""
    return "{" + ",".join([f'{name}="{escape(value)}"' for name, value in labels]) + "}"
