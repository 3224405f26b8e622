"""Which replicas are there, and the state each is shown in: pure rules on what was last heard of them.

No SQL and no clock: `now` and the settings are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from endpoint_analytics.schemas.identity import UNASSIGNED
from endpoint_analytics.schemas.metrics import HEARTBEAT_TIMEOUT_S
from endpoint_analytics.schemas.replicas import State


@dataclass(frozen=True, slots=True)
class Presence:
    """How long things count after they were last heard of."""

    grace: timedelta = timedelta(minutes=5)
    """A departed replica's series stay for so long."""
    heartbeat: timedelta = timedelta(seconds=HEARTBEAT_TIMEOUT_S)
    """An agent that was silent for longer is dead."""
    waiting: timedelta = timedelta(days=1)
    """A replica that no agent speaks for keeps the unfinished state it was told to be in for so long."""


@dataclass(frozen=True, slots=True)
class LastHeard:
    """The last that was heard of a replica: when the broker took its agent's message, and its last state."""

    append_at: datetime | None = None
    state: State | None = None
    state_at: datetime | None = None


_ENDED = frozenset({"terminated", "failed"})
_BEFORE_AGENT = frozenset({"pending", "downloading", "pulling", "initializing"})
_WITH_AGENT = frozenset({"initializing", "running", "draining"})


def is_alive(heard: LastHeard, presence: Presence, now: datetime) -> bool:
    """Whether the replica's agent spoke within the heartbeat timeout."""
    return heard.append_at is not None and heard.append_at >= now - presence.heartbeat


def is_present(heard: LastHeard, presence: Presence, now: datetime) -> bool:
    """Whether the replica's series are shown."""
    newest = max((at for at in (heard.append_at, heard.state_at) if at is not None), default=None)
    if newest is None:
        return False
    return newest >= now - (presence.waiting if _waits(heard) else presence.grace)


def _waits(heard: LastHeard) -> bool:
    """Whether no agent speaks for the replica yet, so that silence says nothing."""
    if heard.state is None or heard.state_at is None or heard.state in _ENDED:
        return False
    return heard.append_at is None or (heard.state in _BEFORE_AGENT and heard.state_at > heard.append_at)


def shown_state(replica_id: str, heard: LastHeard, presence: Presence, now: datetime) -> State | None:
    """Return the state in which the replica is shown; None for requests that no replica holds.

    A replica's last event says its state. Without any, its agent's heartbeat does. Where an agent ought to
    speak and is silent for longer than the heartbeat timeout, the replica has failed.
    """
    if replica_id == UNASSIGNED:
        return None
    if heard.append_at is None or _waits(heard):
        return heard.state
    if heard.state is None:
        return "running" if is_alive(heard, presence, now) else "failed"
    newest = heard.append_at if heard.state_at is None else max(heard.append_at, heard.state_at)
    silent = newest < now - presence.heartbeat
    return "failed" if silent and heard.state in _WITH_AGENT else heard.state
