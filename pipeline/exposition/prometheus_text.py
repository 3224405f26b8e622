"""Families as Prometheus text 0.0.4. Only the rules of that format belong here, nothing about HTTP.

Source of the format: https://prometheus.io/docs/instrumenting/exposition_formats/. It differs from OpenMetrics: a
counter's family has the name of its sample, help texts do not escape quotes, and there are no units, statesets or end
marker.
"""

from __future__ import annotations

from collections.abc import Iterable

from endpoint_analytics.pipeline.exposition.families import ByLabels, MetricFamily
from endpoint_analytics.pipeline.exposition.openmetrics import label_text, sample_lines

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(families: Iterable[MetricFamily]) -> bytes:
    """Return the exposition; families stay in order, without timestamps."""
    lines: list[str] = []
    texts = ByLabels(label_text)
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        kind = "gauge" if family.type == "stateset" else family.type
        lines.append(f"# HELP {name} {escape_help(family.help)}")
        lines.append(f"# TYPE {name} {kind}")
        lines.extend(sample_lines(family, texts))
    lines.append("")
    return "\n".join(lines).encode()


def escape_help(text: str) -> str:
    """Escape a help text for 0.0.4: backslashes and line feeds, but not quotes."""
    return text.replace("\\", r"\\").replace("\n", r"\n")
