"""Which replicas are there, and the state each is shown in: pure rules on what was last heard of them.

No SQL and no clock: `now` and the settings are arguments. Whoever shows a state asks here.

**Silence is judged by the log, never by the clock alone.** A replica is judged at the moment that its partitions were
read to: it is silent when they were read for longer than the heartbeat timeout beyond its last word, steadily, since in
a time in which nobody could append or nobody read, silence says nothing. Where they are not read to within that time of
now, the pipeline is late, and nothing is known of now.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from endpoint_analytics.schemas.identity import UNASSIGNED
from endpoint_analytics.schemas.metrics import HEARTBEAT_TIMEOUT_S
from endpoint_analytics.schemas.replicas import ShownState, State


@dataclass(frozen=True, slots=True)
class Presence:
    """How long things count after they were last heard of."""

    grace: timedelta = timedelta(minutes=5)
    """A departed replica's series stay for so long."""
    heartbeat: timedelta = timedelta(seconds=HEARTBEAT_TIMEOUT_S)
    """An agent that was silent for longer is dead, and a pipeline that is later than that is late."""
    waiting: timedelta = timedelta(days=1)
    """A replica that no agent speaks for keeps the unfinished state it was told to be in for so long."""


_FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LastHeard:
    """The last that was heard of a replica: when the broker took its agent's message, and its last state.

    All that its partitions held at `read_to` is stored; since `steady_since` that has risen without a pause.
    """

    append_at: datetime | None = None
    state: State | None = None
    state_at: datetime | None = None
    read_to: datetime = _FOR_EVER
    steady_since: datetime = _ALWAYS

    @property
    def newest(self) -> datetime | None:
        """When anything was heard last."""
        return max((at for at in (self.append_at, self.state_at) if at is not None), default=None)

    def moment(self, now: datetime) -> datetime:
        """Return the moment that is spoken of."""
        return min(now, self.read_to)

    def unknown_since(self, replica_id: str, presence: Presence, now: datetime) -> datetime | None:
        """Return since when nothing is known of the replica, None while its state is known."""
        if self.read_to < now - presence.heartbeat:
            return self.read_to
        if shown_state(replica_id, self, presence, now) == "unknown" and self.newest is not None:
            return self.newest + presence.heartbeat
        return None


_ENDED = frozenset({"terminated", "failed"})
_BEFORE_AGENT = frozenset({"pending", "downloading", "pulling", "initializing"})
_WITH_AGENT = frozenset({"initializing", "running", "draining"})


def is_late(heard: LastHeard, presence: Presence, now: datetime) -> bool:
    """Whether the pipeline is late where the replica speaks."""
    return heard.read_to < now - presence.heartbeat


def is_alive(heard: LastHeard, presence: Presence, now: datetime) -> bool:
    """Whether the replica's agent spoke within the heartbeat timeout before the moment that is spoken of."""
    return heard.append_at is not None and heard.append_at >= heard.moment(now) - presence.heartbeat


def is_present(heard: LastHeard, presence: Presence, now: datetime) -> bool:
    """Whether the replica's series are shown."""
    newest = heard.newest
    if newest is None:
        return False
    return newest >= heard.moment(now) - (presence.waiting if _waits(heard) else presence.grace)


def _waits(heard: LastHeard) -> bool:
    """Whether no agent speaks for the replica yet, so that silence says nothing."""
    if heard.state is None or heard.state_at is None or heard.state in _ENDED:
        return False
    return heard.append_at is None or (heard.state in _BEFORE_AGENT and heard.state_at > heard.append_at)


def shown_state(replica_id: str, heard: LastHeard, presence: Presence, now: datetime) -> ShownState | None:
    """Return the state in which the replica is shown; None for requests that no replica holds.

    A replica's last event says its state. Without any, its agent's heartbeat does. Where an agent ought to
    speak and is silent for longer than the heartbeat timeout, the replica has failed. Where the pipeline is late,
    or has just gone on, it is not known.
    """
    if replica_id == UNASSIGNED:
        return None
    if is_late(heard, presence, now):
        return "unknown"
    if heard.append_at is None or _waits(heard):
        return heard.state
    silent_from = heard.moment(now) - presence.heartbeat
    newest = heard.append_at if heard.state_at is None else max(heard.append_at, heard.state_at)
    if newest >= silent_from or heard.state not in (None, *_WITH_AGENT):
        return heard.state or "running"
    return "failed" if heard.steady_since < silent_from else "unknown"
