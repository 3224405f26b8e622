"""The replica lifecycle as a transition table. Pure; the agent sends the states."""

from __future__ import annotations

from endpoint_analytics.schemas.replicas import State

# A replica may start in any state up to `running` (earlier states are reported by other sources), may skip states,
# and may fail or be terminated at any time. A terminated or failed replica may start again.
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
    """Return whether a replica in `current` (None: unknown) may enter `state`."""
    return current is None or state in NEXT[current]
