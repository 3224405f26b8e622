"""The Datadog monitors: their queries, thresholds and messages, on the metrics of Datadog's OpenMetrics check. Pure.

What is unknown is absent. So each monitor keeps `No data` apart from `OK`; that of the check itself alerts on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
_BY = "by {endpoint_namespace,endpoint_name}"
_ENDPOINT = "{{endpoint_namespace.name}}/{{endpoint_name.name}}"


@dataclass(frozen=True, slots=True)
class Monitor:
    """A monitor. Its message names a section of docs/alerts.md; `priority` is 1 (wake somebody) to 5."""

    name: str
    query: str
    message: str
    runbook: str
    critical: float
    warning: float | None = None
    priority: int = 3
    kind: str = "query alert"


MONITORS: dict[str, Monitor] = {
    "error-share": Monitor(
        f"{_ENDPOINT}: requests fail",
        "sum(last_10m):( "
        f"sum:inference.http_requests.count{{status_code:5*}} {_BY}.as_count() / "
        f"sum:inference.http_requests.count{{!status_code:1*}} {_BY}.as_count() ) * 100 > 5",
        "{{value}} % of the requests of the last 10 minutes ended with 5xx.",
        "endpointerrorbudgetburnsfast",
        critical=5, warning=1, priority=1,
    ),
    "latency-p95": Monitor(
        f"{_ENDPOINT}: answers are slow",
        f"min(last_10m):max:inference.latency_distribution.quantile{{quantile:0.95}} {_BY} > 10",
        "95 % of requests took up to {{value}} s, for 10 minutes. Change the threshold to the endpoint's objective.",
        "endpointlatencybudgetburnsfast",
        critical=10, warning=5, priority=2,
    ),
    "pending": Monitor(
        f"{_ENDPOINT}: requests wait",
        f"min(last_5m):max:inference.autoscaling_pending_per_replica{{*}} {_BY} > 8",
        "{{value}} requests without a status for each running replica, for 5 minutes.",
        "endpointpendinghigh",
        critical=8, warning=4,
    ),
    "no-running-replica": Monitor(
        f"{_ENDPOINT}: no replica runs",
        f"min(last_5m):clamp_max(max:inference.min_replicas{{*}} {_BY}, 1) - "
        f"clamp_max(max:inference.running_replicas{{*}} {_BY}, 1) > 0",
        "No replica has run for 5 minutes, although the minimum is above 0.",
        "endpointhasnorunningreplica",
        critical=0, priority=1,
    ),
    "state-unknown": Monitor(
        f"{_ENDPOINT}: the state of replicas is unknown",
        f"min(last_5m):max:inference.unknown_replicas{{*}} {_BY} > 0",
        "The state of {{value}} replicas has been unknown for 5 minutes: the pipeline is behind.",
        "endpointstateunknown",
        critical=0, priority=2,
    ),
    "requests-lost": Monitor(
        f"{_ENDPOINT}: requests are missing from all figures",
        "sum(last_30m):sum:inference.dropped_requests.count{*} "
        "by {endpoint_namespace,endpoint_name,reason}.as_count() > 0",
        "{{value}} requests of the last 30 minutes were lost, reason {{reason.name}}.",
        "endpointrequestslost",
        critical=0,
    ),
    "batches-missing": Monitor(
        f"{_ENDPOINT}: batches of an agent never arrived",
        "change(min(last_5m),last_30m):sum:inference.missing_batches{*} "
        "by {endpoint_namespace,endpoint_name,stream} > 0",
        "{{value}} batches of the stream {{stream.name}} are missing that were not 30 minutes ago.",
        "endpointbatchesmissing",
        critical=0,
    ),
    "scrape": Monitor(
        "Endpoint Analytics does not answer the Datadog Agent: {{endpoint.name}}",
        '"inference.openmetrics.health".over("*").by("host","endpoint").last(4).count_by_status()',
        "The OpenMetrics check cannot read the query service: nothing is known of its endpoints.",
        "endpointscrapedown",
        critical=3, warning=1, priority=1, kind="service check",
    ),
}  # fmt: skip


def monitor_json(monitor: Monitor) -> Json:
    """Return a monitor as Datadog's API takes it. Add whom to notify to its message."""
    thresholds: Json = {"critical": monitor.critical}
    if monitor.warning is not None:
        thresholds["warning"] = monitor.warning
    is_check = monitor.kind == "service check"
    options: Json = {
        "thresholds": thresholds | ({"ok": 1} if is_check else {}),
        "include_tags": True,
        "notify_audit": False,
        "require_full_window": False,
        "new_group_delay": 60,
    }
    # A check that no longer reports is an outage; a figure that is absent is unknown, neither bad nor well again.
    options |= (
        {"notify_no_data": True, "no_data_timeframe": 5} if is_check else {"on_missing_data": "show_no_data"}
    )
    return {
        "name": monitor.name,
        "type": monitor.kind,
        "query": monitor.query,
        "message": f"{monitor.message}\n\nWhat to do: docs/alerts.md#{monitor.runbook}",
        "tags": ["endpoint-analytics"],
        "priority": monitor.priority,
        "options": options,
    }
