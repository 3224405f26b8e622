"""Which replicas are present, and the state that each is shown in: pure rules on their last reports.

No SQL and no clock: `now` and the settings are arguments. `read_model` applies them for everything that shows a state.

**Silence is judged by the Kafka log, never by the clock alone.** A replica is judged at the moment up to which its
partitions were read. It is silent if they were read, without interruption, for longer than the heartbeat timeout past
its last report: while nothing could be appended or read, silence means nothing, and a replica that was alive when the
reading stopped is unknown until it had the time to report again. If the partitions have not been read to within that
timeout of now, the pipeline is late, and the present is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from endpoint_analytics.schemas.identity import UNASSIGNED
from endpoint_analytics.schemas.metrics import HEARTBEAT_TIMEOUT_S
from endpoint_analytics.schemas.replicas import ShownState, State


@dataclass(frozen=True, slots=True)
class Presence:
    """How long replicas and agents count as present after their last report."""

    grace: timedelta = timedelta(minutes=5)
    """How long the series of a departed replica are kept."""
    heartbeat: timedelta = timedelta(seconds=HEARTBEAT_TIMEOUT_S)
    """An agent silent for longer is dead; a pipeline further behind is late."""
    waiting: timedelta = timedelta(days=1)
    """How long a replica without an agent keeps its last reported, unfinished state."""
    listed: timedelta = timedelta(days=7)
    """How long an endpoint of which nothing is heard stays among the others (`listed_endpoints`)."""


_FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LastHeard:
    """The last reports of a replica: when the broker appended its agent's last message, and its last state.

    `read_to`: how far its partitions are stored. `steady_since`: when the last pause of reading ended. `stopped_at`:
    how far they were read when it began; 1970 if that is not known.
    """

    append_at: datetime | None = None
    state: State | None = None
    state_at: datetime | None = None
    read_to: datetime = _FOREVER
    steady_since: datetime = _ALWAYS
    stopped_at: datetime = _ALWAYS

    @property
    def newest(self) -> datetime | None:
        """Return the time of the last report of any kind."""
        return max((at for at in (self.append_at, self.state_at) if at is not None), default=None)

    def moment(self, now: datetime) -> datetime:
        """Return the moment at which the replica is judged."""
        return min(now, self.read_to)

    def has_resumed(self, presence: Presence, now: datetime) -> bool:
        """Whether reading has resumed so recently that live agents may not have reported again."""
        return has_resumed(self.steady_since, self.moment(now), now, presence)

    def was_silent_before(self, presence: Presence) -> bool:
        """Whether it was silent already when reading stopped."""
        return self.newest is not None and self.newest < self.stopped_at - presence.heartbeat

    def unknown_since(self, replica_id: str, presence: Presence, now: datetime) -> datetime | None:
        """Return since when nothing is known about the replica, or None if its state is known."""
        if self.read_to < now - presence.heartbeat:
            return self.read_to
        if shown_state(replica_id, self, presence, now) == "unknown" and self.newest is not None:
            return self.newest + presence.heartbeat
        return None


ENDED = frozenset({"terminated", "failed"})
_BEFORE_AGENT = frozenset({"pending", "downloading", "pulling", "initializing"})
_WITH_AGENT = frozenset({"initializing", "running", "draining"})


def has_resumed(steady_since: datetime, moment: datetime, now: datetime, presence: Presence) -> bool:
    """Whether reading has resumed within the heartbeat timeout before the moment of judgment.

    A time that is further in the future comes from a clock that was ahead, and says nothing.
    """
    return moment - presence.heartbeat <= steady_since <= now + presence.heartbeat


def is_late(heard: LastHeard, presence: Presence, now: datetime) -> bool:
    """Whether the pipeline is late for the replica's partitions."""
    return heard.read_to < now - presence.heartbeat


def is_alive(heard: LastHeard, presence: Presence, now: datetime) -> bool:
    """Whether the replica's agent reported within the heartbeat timeout before the moment of judgment."""
    return heard.append_at is not None and heard.append_at >= heard.moment(now) - presence.heartbeat


def is_present(heard: LastHeard, presence: Presence, now: datetime) -> bool:
    """Whether the replica's series are shown."""
    newest = heard.newest
    if newest is None:
        return False
    # A pause makes nobody depart: until agents had the time to report again, the replicas from before it are present.
    is_paused = heard.has_resumed(presence, now) and heard.stopped_at > _ALWAYS
    moment = min(heard.stopped_at, heard.moment(now)) if is_paused else heard.moment(now)
    return newest >= moment - (presence.waiting if _waits(heard) else presence.grace)


def _waits(heard: LastHeard) -> bool:
    """Whether the replica has no agent yet, so that silence means nothing."""
    if heard.state is None or heard.state_at is None or heard.state in ENDED:
        return False
    return heard.append_at is None or (heard.state in _BEFORE_AGENT and heard.state_at > heard.append_at)


def shown_state(replica_id: str, heard: LastHeard, presence: Presence, now: datetime) -> ShownState | None:
    """Return the state in which the replica is shown; None for unassigned requests.

    A replica's last event determines its state; without events, its agent's heartbeat does. If an agent should be
    reporting but is silent for longer than the heartbeat timeout, the replica has failed. While the pipeline is late,
    or has just resumed, the state is unknown.
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
    if heard.has_resumed(presence, now) and not heard.was_silent_before(presence):
        return "unknown"
    return "failed"
