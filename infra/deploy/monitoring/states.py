"""How dashboards show the states of a replica: a number and a colour each, in the order of a replica's life."""

from __future__ import annotations

from endpoint_analytics.schemas.replicas import STATES, State

COLOURS: dict[State, str] = {
    "pending": "grey",
    "downloading": "sky",
    "pulling": "sky",
    "initializing": "yellow",
    "running": "green",
    "draining": "orange",
    "terminated": "grey",
    "failed": "red",
}
STATE_COLOURS = tuple((state, COLOURS[state]) for state in STATES)
STARTING: tuple[State, ...] = ("pending", "downloading", "pulling", "initializing")
"""States before the first `running`."""
CLASS_COLOURS = (("1xx", "grey"), ("2xx", "green"), ("3xx", "sky"), ("4xx", "orange"), ("5xx", "red"))
QUANTILE_COLOURS = (("p50", "sky"), ("p90", "blue"), ("p95", "orange"), ("p99", "red"), ("objective", "grey"))
