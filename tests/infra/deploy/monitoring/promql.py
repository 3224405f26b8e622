"""Which metrics a PromQL expression names, and which exist."""

from __future__ import annotations

import re

from endpoint_analytics.schemas import metrics, service_metrics, worker_metrics

NO_NAMES = re.compile(r'"(?:\\.|[^"\\])*"|#.*|\{[^}]*\}|\[[^]]*\]|\b(?:by|on|without|ignoring) *\([^)]*\)')
"""Strings, comments, matchers, ranges and labels."""
WORD = re.compile(r"(?<![\w:$])[a-zA-Z_][\w:]*")
WORDS_OF_PROMQL = {
    *("and", "or", "unless", "offset", "bool", "group_left", "group_right", "inf", "nan"),
    *("absent", "avg", "count", "group", "max", "min", "sum", "time", "timestamp", "topk", "vector"),
    *("avg_over_time", "last_over_time", "max_over_time", "min_over_time", "sum_over_time"),
    *("changes", "histogram_quantile", "increase", "label_replace", "rate", "clamp_min", "clamp_max"),
}


def metrics_of(expression: str) -> set[str]:
    """Return the names of the metrics that an expression reads."""
    return set(WORD.findall(NO_NAMES.sub(" ", expression))) - WORDS_OF_PROMQL


def existing_metrics() -> set[str]:
    """Return the names of all series that our parts expose, and of those that Prometheus adds."""
    families = [
        (family.name, family.type)
        for module in (metrics, service_metrics, worker_metrics)
        for family in vars(module).values()
        if isinstance(family, metrics.Family)
    ]
    families += [
        (each.family, "counter" if each.counter else "gauge")
        for each in metrics.HARDWARE_METRICS
        if each.family
    ]
    families += [(each.name, "gauge") for each in metrics.ENGINE_METRICS]
    suffixes = {
        "counter": ("_total",),
        "histogram": ("", "_bucket", "_count", "_sum"),
        "summary": ("", "_count", "_sum"),
    }
    return {name + suffix for name, kind in families for suffix in suffixes.get(kind, ("",))} | {
        "up",
        "ALERTS",
    }
