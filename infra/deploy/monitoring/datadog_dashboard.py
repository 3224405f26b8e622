"""The Datadog dashboard: its widgets and their queries, on the metrics of Datadog's OpenMetrics check. Pure.

The check's namespace is `inference`. `<replicas>` and `<endpoints>` stand for the template variables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
ENDPOINTS = "$endpoint_namespace,$endpoint_name"
REPLICAS = f"{ENDPOINTS},$replica_id"
_OF_ENDPOINT = "by {endpoint_namespace,endpoint_name}"


@dataclass(frozen=True, slots=True)
class Widget:
    """A graph: queries by name, formulas over them with their aliases, and what the number means."""

    title: str
    meaning: str
    queries: tuple[tuple[str, str], ...]
    formulas: tuple[tuple[str, str], ...]
    """Formula and alias; an empty alias leaves the groups' names."""
    unit: str = ""
    is_stacked: bool = False


def _plain(
    title: str, meaning: str, *lines: tuple[str, str], unit: str = "", is_stacked: bool = False
) -> Widget:
    """Return a graph whose lines are queries as they are."""
    named = tuple((f"q{number}", query) for number, (query, _) in enumerate(lines))
    formulas = tuple((name, alias) for (name, _), (_, alias) in zip(named, lines, strict=True))
    return Widget(title, meaning, named, formulas, unit, is_stacked)


def _share(
    title: str, meaning: str, part: str, whole: str, aggregators: tuple[str, ...] = ("avg", "max")
) -> Widget:
    """Return a graph of part / whole in percent: over all replicas, and the fullest replica's."""
    queries, formulas = [], []
    for name in aggregators:
        by = "by {replica_id}" if name == "max" else ""
        queries += [(f"{name}_part", f"{name}:inference.{part}{{<replicas>}} {by}".strip())]
        queries += [(f"{name}_whole", f"{name}:inference.{whole}{{<replicas>}} {by}".strip())]
        ratio = f"{name}_part / {name}_whole * 100"
        formulas.append(
            (
                f"top({ratio}, 1, 'max', 'desc')" if name == "max" else ratio,
                "fullest" if name == "max" else "mean",
            )
        )
    return Widget(title, meaning, tuple(queries), tuple(formulas), "percent")


_FINAL = "sum:inference.http_requests.count{<replicas>,!status_code:1*}"
_QUANTILES = (("0.5", "p50"), ("0.9", "p90"), ("0.95", "p95"), ("0.99", "p99"))


def _quantiles(title: str, meaning: str, family: str) -> Widget:
    lines = (
        (f"max:inference.{family}.quantile{{<endpoints>,quantile:{q}}}", alias) for q, alias in _QUANTILES
    )
    return _plain(title, meaning, *lines, unit="second")


GROUPS: tuple[tuple[str, tuple[Widget, ...]], ...] = (
    (
        "Requests",
        (
            _plain(
                "Requests by status",
                "Requests per second, at the moment that their HTTP status was sent.",
                ("sum:inference.http_requests.count{<replicas>} by {status_code}.as_rate()", ""),
                is_stacked=True,
            ),
            Widget(
                "Share of errors",
                "Share of 5xx and of 4xx among the requests that got a final status.",
                (
                    ("server", "sum:inference.http_requests.count{<replicas>,status_code:5*}.as_count()"),
                    ("client", "sum:inference.http_requests.count{<replicas>,status_code:4*}.as_count()"),
                    ("final", f"{_FINAL}.as_count()"),
                ),
                (("server / final * 100", "5xx"), ("client / final * 100", "4xx")),
                "percent",
            ),
            _plain(
                "Pending, streaming and active",
                "Pending: no HTTP status yet. Streaming: status sent, last byte not yet. Active: both.",
                ("sum:inference.pending_requests{<replicas>}", "pending"),
                ("sum:inference.streaming_requests{<replicas>}", "streaming"),
                ("sum:inference.active_requests{<replicas>}", "active"),
            ),
            _plain(
                "Requests that ended early",
                "Requests per second that ended before a status (pending) or after it (streaming).",
                ("sum:inference.aborted_requests.count{<replicas>} by {stage}.as_rate()", ""),
            ),
            _plain(
                "Oldest pending request",
                "Age of the request that has waited longest for its status.",
                ("max:inference.oldest_pending_request_age_seconds{<replicas>}", "oldest"),
                unit="second",
            ),
            _plain(
                "Pending requests per running replica",
                "Mean of the last 20 s, as autoscalers see it.",
                (f"max:inference.autoscaling_pending_per_replica{{<endpoints>}} {_OF_ENDPOINT}", ""),
            ),
        ),
    ),
    (
        "Latency of an endpoint: choose one, since quantiles of several cannot be added up",
        (
            _quantiles(
                "Latency", "From arrival to the last byte, over the last 5 minutes.", "latency_distribution"
            ),
            _quantiles(
                "Time to first byte",
                "From arrival to the HTTP status, over the last 5 minutes.",
                "time_to_first_byte",
            ),
        ),
    ),
    (
        "Replicas",
        (
            _plain(
                "Running replicas and their limits",
                "Replicas that run, those of unknown state, and the minimum and maximum settings.",
                ("sum:inference.running_replicas{<endpoints>}", "running"),
                ("sum:inference.unknown_replicas{<endpoints>}", "unknown"),
                ("sum:inference.min_replicas{<endpoints>}", "minimum"),
                ("sum:inference.max_replicas{<endpoints>}", "maximum"),
            ),
            _plain(
                "Replicas by state",
                "How many replicas are in each state.",
                ("sum:inference.replica_state{<replicas>} by {replica_state}", ""),
                is_stacked=True,
            ),
        ),
    ),
    (
        "Compute",
        (
            _plain(
                "CPU",
                "CPU time over the cores that the replica may use: mean and highest.",
                ("avg:inference.cpu_usage_percent{<replicas>}", "mean"),
                ("max:inference.cpu_usage_percent{<replicas>}", "highest"),
                unit="percent",
            ),
            _share(
                "Memory",
                "Memory without page cache over its limit.",
                "memory_used_bytes",
                "memory_limit_bytes",
            ),
            _plain(
                "GPU",
                "Share of time in which a kernel ran: mean and highest.",
                ("avg:inference.gpu_usage_percent{<replicas>}", "mean"),
                ("max:inference.gpu_usage_percent{<replicas>}", "highest"),
                unit="percent",
            ),
            _share(
                "GPU memory",
                "Used share of the GPUs' memory.",
                "gpu_memory_used_bytes",
                "gpu_memory_total_bytes",
            ),
            _plain(
                "Killed for lack of memory",
                "Processes of the replicas that the kernel killed.",
                ("sum:inference.oom_kills.count{<replicas>}.as_count()", "killed"),
            ),
        ),
    ),
    (
        "Serving engine",
        (
            _plain(
                "Requests in the engine",
                "Requests that the engines process, and those in their queues.",
                ("sum:inference.engine_running_requests{<replicas>}", "running"),
                ("sum:inference.engine_waiting_requests{<replicas>}", "waiting"),
            ),
            _plain(
                "Key-value cache",
                "Share of the cache in use: mean and highest.",
                ("avg:inference.engine_kv_cache_percent{<replicas>}", "mean"),
                ("max:inference.engine_kv_cache_percent{<replicas>}", "highest"),
                unit="percent",
            ),
            _plain(
                "Tokens per second",
                "Prompts processed, the part of them found in the prefix cache, and generated.",
                ("sum:inference.engine_prompt_tokens_per_second{<replicas>}", "prompt"),
                ("sum:inference.engine_cached_prompt_tokens_per_second{<replicas>}", "prompt, cached"),
                ("sum:inference.engine_generated_tokens_per_second{<replicas>}", "generated"),
            ),
        ),
    ),
    (
        "Losses",
        (
            _plain(
                "Requests missing from all figures",
                "Requests that an agent could not record, or whose batch was lost, by reason.",
                ("sum:inference.dropped_requests.count{<replicas>} by {reason}.as_count()", ""),
                is_stacked=True,
            ),
            _plain(
                "Missing batches",
                "Batches that never arrived, by the gaps in their numbers, by stream.",
                ("sum:inference.missing_batches{<replicas>} by {stream}", ""),
            ),
        ),
    ),
)


def dashboard_json() -> Json:
    """Return the dashboard as Datadog's API takes it."""
    return {
        "title": "Endpoint Analytics: inference endpoints",
        "description": "Requests, latency, replicas, hardware and losses of inference endpoints.",
        "layout_type": "ordered",
        "reflow_type": "auto",
        "template_variables": [
            {"name": name, "prefix": name, "available_values": [], "defaults": ["*"]}
            for name in ("endpoint_namespace", "endpoint_name", "replica_id")
        ],
        "widgets": [_group(title, widgets) for title, widgets in GROUPS],
    }


def _group(title: str, widgets: tuple[Widget, ...]) -> Json:
    return {
        "definition": {
            "type": "group",
            "title": title,
            "layout_type": "ordered",
            "widgets": [_widget(widget) for widget in widgets],
        }
    }


def _widget(widget: Widget) -> Json:
    formulas: list[Json] = [
        {"formula": formula, **({"alias": alias} if alias else {}), **_format(widget)}
        for formula, alias in widget.formulas
    ]
    queries = [
        {
            "name": name,
            "data_source": "metrics",
            "query": text.replace("<replicas>", REPLICAS).replace("<endpoints>", ENDPOINTS),
        }
        for name, text in widget.queries
    ]
    return {
        "definition": {
            "type": "timeseries",
            "title": f"{widget.title}: {widget.meaning}",
            "show_legend": True,
            "legend_layout": "auto",
            "requests": [
                {
                    "response_format": "timeseries",
                    "queries": queries,
                    "formulas": formulas,
                    "display_type": "area" if widget.is_stacked else "line",
                }
            ],
        }
    }


def _format(widget: Widget) -> Json:
    if not widget.unit:
        return {}
    return {"number_format": {"unit": {"type": "canonical_unit", "unit_name": widget.unit}}}
