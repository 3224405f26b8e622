"""An endpoint's signals for an autoscaler, computed from the rows of four queries. Pure: no SQL, no clock.

The rules also exist in SQL, in the views `replica_signals` and `endpoint_signals`; a test checks that both agree.
A row is a sequence in the column order of its query in `signal_queries`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.progress import Progress, StreamPartition
from endpoint_analytics.pipeline.store.read_model import (
    AgentReport,
    Moment,
    ReplicaNow,
    RequestReport,
    StateReport,
)
from endpoint_analytics.pipeline.store.scope import Key
from endpoint_analytics.schemas import metrics as names
from endpoint_analytics.schemas.replicas import ShownState

Row = Sequence[Any]

WINDOW_S = 20
"""For requests: the hosted original's rule uses pending requests per replica over the past 20 seconds."""
HARDWARE_WINDOW_S = 60
CURRENT_FOR_S = 60
"""Figures that end longer ago are late: they were resent after an outage, or a clock is wrong."""

FRESH_FOR_S = 5
"""Agents report once a second. If none of an endpoint's agents has reported for longer, either the pipeline is stuck
or all are gone at once. Then the signals are unknown: no replica is considered dead, no missing request counts as 0."""

_PRESENCE = Presence()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ON_THE_WAY_OUT = frozenset({"draining", "terminated", "failed"})


@dataclass(frozen=True, slots=True)
class ReplicaSignals:
    """A present replica, or unassigned requests (`state` is None). None means unknown.

    `is_live`: an agent reports its requests. `is_missing`: one of its processes has not reported again after a pause of
    reading. `is_silent`: it has failed only because of its silence.
    `unknown_since`: the pipeline is late, and nothing is known since then.
    Requests are means over 20 s and percentages means over 60 s, of all its processes and devices.
    """

    replica_id: str
    state: ShownState | None
    unknown_since: datetime | None
    as_of: datetime | None
    is_live: bool
    is_missing: bool
    is_silent: bool
    pending_requests: float | None
    streaming_requests: float | None
    cpu_percent: float | None
    memory_percent: float | None
    gpu_percent: float | None
    gpu_memory_percent: float | None


@dataclass(frozen=True, slots=True)
class EndpointSignals:
    """An endpoint at the moment `at`; None means unknown, which is never 0.

    `as_of` is when the broker appended its agents' newest message. Request counts are totals of the endpoint and per
    running replica (divided by 1 if none is running). Hardware is the mean over running replicas. While the pipeline is
    late for any of its replicas, nothing is known about the endpoint since `unknown_since`.
    """

    namespace: str
    endpoint: str
    at: datetime
    as_of: datetime
    unknown_since: datetime | None
    running_replicas: int | None
    late_replicas: int
    silent_replicas: int
    pending_requests: float | None
    pending_per_replica: float | None
    active_requests: float | None
    active_per_replica: float | None
    cpu_percent: float | None
    memory_percent: float | None
    gpu_percent: float | None
    gpu_memory_percent: float | None
    replicas: tuple[ReplicaSignals, ...]
    places: frozenset[StreamPartition]
    """The partitions that its reports come through."""
    unknown_places: frozenset[StreamPartition]
    """The partitions by which its unknown replicas are judged."""

    @property
    def age_s(self) -> float:
        """Return the seconds from `as_of` to `at`."""
        return (self.at - self.as_of).total_seconds()

    @property
    def is_current(self) -> bool:
        """Whether anything other than replica counts is known."""
        known = (self.pending_requests, self.cpu_percent, self.memory_percent, self.gpu_percent)
        return any(value is not None for value in known)


class Heard(NamedTuple):
    """A row of HEARD: when the broker appended one agent's newest message, overall and by stream, and where."""

    append: datetime
    newest_partition: StreamPartition
    requests_append: datetime
    requests_partition: int
    hardware_append: datetime
    hardware_partition: int


class PendingLevel(NamedTuple):
    """A row of LEVELS: the end of an agent's reports, and its means."""

    reported_us: int
    pending: float
    streaming: float


class Hardware(NamedTuple):
    """Of a row of HARDWARE: the end of a replica's reports of a metric, and its mean."""

    reported_us: int
    mean: float


@dataclass(slots=True)
class _Replica:
    agents: list[tuple[Heard, PendingLevel | None]] = field(default_factory=list)
    state: StateReport | None = None
    hardware: dict[str, Hardware] = field(default_factory=dict)

    def at(self, replica_id: str, moment: Moment) -> ReplicaNow:
        """Return what is known of it at the moment."""
        newest = max((heard for heard, _ in self.agents), key=lambda heard: heard.append, default=None)
        if newest is None:
            return moment.replica(replica_id, None, self.state)
        reports = tuple(
            RequestReport(heard.requests_append, heard.requests_partition, 0)
            for heard, _ in self.agents
            if heard.requests_append > _EPOCH
        )
        partition = max(reports).partition if reports else None
        agent = AgentReport(newest.append, newest.newest_partition, partition, reports)
        return moment.replica(replica_id, agent, self.state)

    def agent_partitions(self) -> Iterator[StreamPartition]:
        """Yield the partitions that its agents report through."""
        for heard, _ in self.agents:
            yield heard.newest_partition
            if heard.requests_append > _EPOCH:
                yield "requests", heard.requests_partition
            if heard.hardware_append > _EPOCH:
                yield "hardware", heard.hardware_partition


def parse_signals(
    heard: Iterable[Row],
    states: Iterable[Row],
    levels: Iterable[Row],
    hardware: Iterable[Row],
    progress: Progress,
    now: datetime,
) -> dict[Key, EndpointSignals]:
    """Return the signals of each endpoint with an agent that reported in the last days."""
    level_of = {tuple(row[:4]): PendingLevel._make(row[4:]) for row in levels}
    endpoints: defaultdict[tuple[str, str], defaultdict[str, _Replica]] = defaultdict(
        lambda: defaultdict(_Replica)
    )
    for row in heard:
        level = level_of.get(tuple(row[:4]))
        endpoints[row[0], row[1]][row[2]].agents.append((Heard._make(row[4:]), level))
    for row in states:
        endpoints[row[0], row[1]][row[2]].state = StateReport._make(row[3:6])
    for namespace, endpoint, replica_id, metrics, *figures in hardware:
        means = map(Hardware._make, zip(*figures, strict=True))
        endpoints[namespace, endpoint][replica_id].hardware = dict(zip(metrics, means, strict=True))
    moment = Moment(progress, _PRESENCE, now)
    current_from_us = (now - timedelta(seconds=CURRENT_FOR_S) - _EPOCH) // timedelta(microseconds=1)
    found = {}
    for of, replicas in endpoints.items():
        key = Key(*of)
        known = [replica.at(name, moment) for name, replica in sorted(replicas.items())]
        present = [
            _replica_signals(each, replicas[each.replica_id], moment, current_from_us)
            for each in known
            if each.is_present
        ]
        newest = max((each.as_of for each in present if each.as_of is not None), default=None)
        if newest is not None:
            places = {place for replica in replicas.values() for place in replica.agent_partitions()}
            places |= {place for each in known for place in each.partitions}
            unknown_places = {place for each in known if each.unknown_since for place in each.partitions}
            found[key] = _endpoint_signals(
                key, tuple(present), newest, frozenset(places), frozenset(unknown_places), now
            )
    return found


def _replica_signals(
    known: ReplicaNow, replica: _Replica, moment: Moment, current_from_us: int
) -> ReplicaSignals:
    """Return the signals of a present replica."""
    alive_from = moment.now - moment.presence.heartbeat
    live = [
        (heard, level)
        for heard, level in replica.agents
        if heard.requests_append > _EPOCH
        and moment.is_reporting(heard.requests_append, ("requests", heard.requests_partition))
    ]
    current = [level for _, level in live if level is not None and level.reported_us >= current_from_us]
    is_measured = any(heard.hardware_append >= alive_from for heard, _ in replica.agents)
    if known.unknown_since is not None:
        current, is_measured = [], False
    if known.levels is None:
        current = []
    means = {
        metric: found.mean
        for metric, found in replica.hardware.items()
        if is_measured and found.reported_us >= current_from_us
    }
    return ReplicaSignals(
        replica_id=known.replica_id,
        state=known.state,
        unknown_since=known.unknown_since,
        as_of=known.heard.append_at,
        is_live=bool(live),
        is_missing=known.is_missing,
        is_silent=known.state == "failed" and (replica.state is None or replica.state.state != "failed"),
        pending_requests=sum(level.pending for level in current) if current else None,
        streaming_requests=sum(level.streaming for level in current) if current else None,
        cpu_percent=means.get(names.CPU_PERCENT.name),
        memory_percent=_share(means, names.MEMORY_USED_BYTES, names.MEMORY_LIMIT_BYTES),
        gpu_percent=means.get(names.GPU_PERCENT.name),
        gpu_memory_percent=_share(means, names.GPU_MEMORY_USED_BYTES, names.GPU_MEMORY_TOTAL_BYTES),
    )


def _share(
    means: Mapping[str, float], used: names.HardwareMetric, whole: names.HardwareMetric
) -> float | None:
    """Return how much of the whole is used, in percent; None if either is unknown."""
    if used.name not in means or not means.get(whole.name):
        return None
    return 100 * means[used.name] / means[whole.name]


def _endpoint_signals(
    key: Key,
    replicas: tuple[ReplicaSignals, ...],
    as_of: datetime,
    places: frozenset[StreamPartition],
    unknown_places: frozenset[StreamPartition],
    now: datetime,
) -> EndpointSignals:
    running = [each for each in replicas if each.state == "running"]
    late = sum(each.is_live and each.pending_requests is None for each in running)
    # Requests held by a draining replica do not need another replica.
    here = [each for each in replicas if each.state not in _ON_THE_WAY_OUT]
    counted = [
        (each.pending_requests, each.streaming_requests or 0.0)
        for each in here
        if each.pending_requests is not None
    ]
    # Replicas whose figures are late count with the mean of the others.
    divisor = len(running) - late if running else 1
    pending = active = None
    unknown_since = min((each.unknown_since for each in replicas if each.unknown_since), default=None)
    is_fresh = unknown_since is None and as_of >= now - timedelta(seconds=FRESH_FOR_S)
    if is_fresh and counted and divisor and not any(each.is_missing for each in here):
        pending = sum(waiting for waiting, _ in counted) / divisor
        active = sum(waiting + streaming for waiting, streaming in counted) / divisor
    scale = max(len(running), 1)
    measured = running if is_fresh else []
    return EndpointSignals(
        namespace=key[0],
        endpoint=key[1],
        at=now,
        as_of=as_of,
        unknown_since=unknown_since,
        running_replicas=None if unknown_since else len(running),
        late_replicas=late,
        silent_replicas=sum(each.is_silent for each in replicas),
        pending_requests=None if pending is None else pending * scale,
        pending_per_replica=pending,
        active_requests=None if active is None else active * scale,
        active_per_replica=active,
        cpu_percent=_mean(each.cpu_percent for each in measured),
        memory_percent=_mean(each.memory_percent for each in measured),
        gpu_percent=_mean(each.gpu_percent for each in measured),
        gpu_memory_percent=_mean(each.gpu_memory_percent for each in measured),
        replicas=replicas,
        places=places,
        unknown_places=unknown_places,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
