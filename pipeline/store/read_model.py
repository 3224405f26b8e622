"""The read model: what is known of an endpoint's replicas at one moment. Pure; every outlet asks here.

OpenMetrics, the list, the page's series and the autoscaling signals each read their own columns. Whether a replica is
present, its state, since when it is unknown, how many run, and whether what it reported of its requests still holds is
decided here, by the rules of `presence`; the view `replica_signals_at` repeats them in SQL, and a test compares both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from endpoint_analytics.pipeline.store.presence import (
    ENDED,
    LastHeard,
    Presence,
    is_alive,
    is_present,
    shown_state,
)
from endpoint_analytics.pipeline.store.progress import Progress, StreamPartition
from endpoint_analytics.schemas.replicas import ShownState, State


class RequestReport(NamedTuple):
    """The newest request batch of one boot: when the broker appended it, where, and what the boot then held."""

    append_at: datetime
    partition: int
    pending: int
    streaming: int = 0
    oldest_pending_us: int = 0


@dataclass(frozen=True, slots=True)
class RequestLevels:
    """Requests currently held by a replica's live processes."""

    pending: int
    streaming: int
    oldest_pending_us: int


class AgentReport(NamedTuple):
    """The newest message of a replica's agents: when the broker appended it, and to which partition.

    `requests_partition` is the one that its request batches go to; None without any. `requests` are the reports of its
    boots that may still be alive.
    """

    append_at: datetime
    partition: StreamPartition
    requests_partition: int | None
    requests: tuple[RequestReport, ...] = ()


class StateReport(NamedTuple):
    """The last reported state of a replica, since when, and the partition of `replicas` that holds it."""

    state: State
    at: datetime
    partition: int


@dataclass(frozen=True, slots=True)
class ReplicaNow:
    """A replica at one moment. `state` is None for requests that no replica is named for.

    `unknown_since` is None while its state is known. `levels` are the requests that it holds, None if that is unknown,
    and if no agent ever reported its requests (`reports_requests`). `is_missing`: one of its processes may be alive and
    has not reported again since reading resumed. `partitions` are those that its state depends on.
    """

    replica_id: str
    heard: LastHeard
    state: ShownState | None
    is_present: bool
    is_alive: bool
    reports_requests: bool
    levels: RequestLevels | None
    is_missing: bool
    unknown_since: datetime | None
    partitions: tuple[StreamPartition, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """The moment that one answer describes: the pipeline's progress, how long reports count, and the time."""

    progress: Progress
    presence: Presence
    now: datetime

    def replica(self, replica_id: str, agent: AgentReport | None, state: StateReport | None) -> ReplicaNow:
        """Return what is known of a replica, given its last reports."""
        heard = self.progress.heard(
            append_at=agent.append_at if agent else None,
            partition=agent.partition if agent else None,
            state=state.state if state else None,
            state_at=state.at if state else None,
            state_partition=state.partition if state else None,
            now=self.now,
            presence=self.presence,
        )
        present = is_present(heard, self.presence, self.now)
        return ReplicaNow(
            replica_id=replica_id,
            heard=heard,
            # One that is no longer present entered its state long before.
            state=shown_state(
                replica_id, heard, self.presence, self.now if present else heard.moment(self.now)
            ),
            is_present=present,
            is_alive=is_alive(heard, self.presence, self.now),
            reports_requests=agent is not None and agent.requests_partition is not None,
            levels=self._levels(agent, state) if agent and present else None,
            is_missing=self._is_missing(agent, state) if agent and present else False,
            unknown_since=heard.unknown_since(replica_id, self.presence, self.now) if present else None,
            partitions=(
                *([agent.partition] if agent else []),
                *([("replicas", state.partition)] if state else []),
            ),
        )

    def is_late(self, partition: StreamPartition) -> bool:
        """Whether the partition's data is too old to describe the present."""
        return self.progress.of(partition).read_to < self.now - self.presence.heartbeat

    def is_reporting(self, append_at: datetime, partition: StreamPartition) -> bool:
        """Whether an agent still reports, judged at the moment up to which its partition was read."""
        read_to = self.progress.of(partition).read_to
        return append_at >= min(self.now, read_to) - self.presence.heartbeat

    def _levels(self, agent: AgentReport, state: StateReport | None) -> RequestLevels | None:
        """Return what the live processes hold; None if the pipeline is late, or if one may be alive that is silent."""
        if agent.requests_partition is None:
            return None
        live = [each for each in agent.requests if self.is_reporting(each.append_at, _partition_of(each))]
        partitions = {_partition_of(each) for each in live} or {("requests", agent.requests_partition)}
        if any(map(self.is_late, partitions)):
            return None
        if self._is_missing(agent, state):
            return None
        return RequestLevels(
            pending=sum(each.pending for each in live),
            streaming=sum(each.streaming for each in live),
            oldest_pending_us=max((each.oldest_pending_us for each in live), default=0),
        )

    def _is_missing(self, agent: AgentReport, state: StateReport | None) -> bool:
        """Whether a process was alive when its partition stood still, and has not had the time to report again."""
        if state is not None and state.state in ENDED:
            return False
        for report in agent.requests:
            partition = _partition_of(report)
            progress = self.progress.of(partition)
            if (
                progress.has_resumed(self.now, self.presence)
                and not self.is_reporting(report.append_at, partition)
                and report.append_at >= progress.stopped_at - self.presence.heartbeat
            ):
                return True
        return False

    def unknown_since(self, replicas: Iterable[ReplicaNow]) -> datetime | None:
        """Return since when it is unknown which of an endpoint's replicas run; None if it is known.

        If none is present, a late partition may still contain new ones.
        """
        present = [each for each in replicas if each.is_present]
        since = [each.unknown_since for each in present if each.unknown_since is not None]
        if since:
            return min(since)
        slowest = self.progress.slowest(self.now)
        return slowest if not present and slowest < self.now - self.presence.heartbeat else None

    def running(self, replicas: Iterable[ReplicaNow]) -> int | None:
        """Return the number of running replicas of an endpoint; None if it is unknown."""
        found = list(replicas)
        if self.unknown_since(found) is not None:
            return None
        return sum(each.is_present and each.state == "running" for each in found)


def _partition_of(report: RequestReport) -> StreamPartition:
    return "requests", report.partition
