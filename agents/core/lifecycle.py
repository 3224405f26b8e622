"""The life of a replica as a table: from which state to which. Pure; sending states is the agent's work."""

from __future__ import annotations

from endpoint_analytics.schemas.replicas import State

# A replica may begin anywhere before `running` (what comes before the agent's start is told by others), may
# skip states, and may fail or be ended at any time. A terminated or failed one may start again.
NEXT: dict[State, frozenset[State]] = {
    "pending": frozenset({"downloading", "pulling", "initializing", "running", "terminated", "failed"}),
    "downloading": frozenset({"pulling", "initializing", "running", "terminated", "failed"}),
    "pulling": frozenset({"downloading", "initializing", "running", "terminated", "failed"}),
    "initializing": frozenset({"running", "draining", "terminated", "failed"}),
    "running": frozenset({"draining", "terminated", "failed"}),
    "draining": frozenset({"running", "terminated", "failed"}),
    "terminated": frozenset({"pending", "downloading", "pulling", "initializing"}),
    "failed": frozenset({"pending", "downloading", "pulling", "initializing", "terminated"}),
}


def may_follow(current: State | None, state: State) -> bool:
    """Return whether a replica in `current` (None: not known) may enter `state`."""
    return current is None or state in NEXT[current]
