"""Families as OpenMetrics 1.0 text. What OpenMetrics says belongs here, and nothing about HTTP.

Source of the format: OpenMetrics 1.0, https://github.com/prometheus/OpenMetrics, specification/OpenMetrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from endpoint_analytics.pipeline.exposition.families import Labels, MetricFamily
from endpoint_analytics.pipeline.exposition.numbers import number_text

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def render(families: Iterable[MetricFamily]) -> bytes:
    """Return the exposition, `# EOF` included; families come in their order, without timestamps."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {escape(family.help)}")
        lines.append(f"# TYPE {family.name} {family.type}")
        if family.unit:
            lines.append(f"# UNIT {family.name} {family.unit}")
        lines.extend(
            f"{family.name}{sample.suffix}{label_text(sample.labels)} {number_text(sample.value)}"
            for sample in family.samples
        )
    lines.append("# EOF\n")
    return "\n".join(lines).encode()


def escape(text: str) -> str:
    """Return a label value, or a help text, as it stands in OpenMetrics: the rule is the same for both."""
    return text.translate(_ESCAPES) if needs_escape(text) else text


def needs_escape(text: str) -> bool:
    """Whether any character is one of the three that are escaped; most texts have none."""
    return "\\" in text or '"' in text or "\n" in text


def label_text(labels: Labels) -> str:
    """Return `{name="value",...}`, or nothing without labels."""
    if not labels:
        return ""
    return "{" + ",".join([f'{name}="{escape(value)}"' for name, value in labels]) + "}"
