"""What each judge asks, in the words of SQL that a tool would make of clicks; `{db}` is the database."""

from __future__ import annotations

VIEWS = (
    "requests",
    "statuses",
    "latencies",
    "latency_quantiles",
    "replicas",
    "hardware",
    "engines",
    "losses",
)

QUESTIONS = {
    "arrived": "SELECT sum(arrived) FROM {db}.requests",
    "failed": "SELECT sum(status_5xx) FROM {db}.requests",
    "p95_seconds": "SELECT quantileExactWeighted(0.95)(seconds, requests) FROM {db}.latencies "
    "WHERE measure = 'latency'",
    "first_minute": "SELECT min(minute) FROM {db}.requests",
    "dropped": "SELECT sum(requests) FROM {db}.losses WHERE reason = 'queue_full'",
    "cpu_percent": "SELECT avg(mean) FROM {db}.hardware WHERE metric = 'cpu_percent'",
    "replicas": "SELECT replica_id FROM {db}.replicas ORDER BY replica_id",
}
"""By the name of the answer; `replicas` has a row for each replica, the others one row with one value."""
