"""Reads what is known about an endpoint's replicas over a range: boots, events, settings and freshness.

`series_states` and `presence` interpret the rows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from endpoint_analytics.pipeline.store.paused_partitions import PausedPartition, read_still_paused
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.progress import StreamPartition, read_progress
from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.read_model import (
    AgentReport,
    Moment,
    ReplicaNow,
    RequestReport,
    StateReport,
)
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.series_states import (
    LATE,
    AgentLife,
    Event,
    Span,
    spans_of,
    unknown_from,
)
from endpoint_analytics.schemas.replicas import ShownState

MAX_ROWS = 50_000
"""Limit of boots, of events, and of settings, for one answer; beyond it, the oldest are left out."""

# Few endpoints have lost anything, or have conflicts.
KNOWN = """
SELECT count(), max(last_at), max(missing > 0 OR notEmpty(dropped_counts) OR notEmpty(dropped_batch_counts)),
    max(conflicts > 0)
FROM boots WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
"""

# Endpoints without agents: pods, or settings, were reported.
KNOWN_OTHERWISE = """
SELECT
    (SELECT count() FROM replica_events WHERE namespace = {namespace:String} AND endpoint = {endpoint:String})
    + (SELECT count() FROM endpoint_settings WHERE namespace = {namespace:String} AND endpoint = {endpoint:String})
"""

# Replicas whose agent reported since the range began, or whose last reported state had not ended by then. All their
# boots and events are read, because a state depends on earlier ones.
_CHOSEN = """
    SELECT replica_id FROM boots
    WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
        AND last_append >= {heard_from:DateTime64(3, 'UTC')}
    UNION DISTINCT
    SELECT replica_id FROM replica_events
    WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
    GROUP BY replica_id
    HAVING max(at) >= {events_from:DateTime64(6, 'UTC')} OR (max(at) >= {waiting_from:DateTime64(6, 'UTC')}
        AND argMax(state, (at, offset)) NOT IN ('terminated', 'failed'))
"""

# One row per boot, combining its streams and partitions.
BOOTS = f"""
SELECT replica_id, min(first_at), max(last_at), max(last_append), argMax((stream, partition), last_append),
    countIf(stream = 'requests'), maxIf(last_append, stream = 'requests'),
    argMaxIf((partition, pending), last_append, stream = 'requests'),
    max(copies), sum(conflicts)
FROM boots FINAL
WHERE namespace = {{namespace:String}} AND endpoint = {{endpoint:String}} AND replica_id IN ({_CHOSEN})
GROUP BY replica_id, boot_id
ORDER BY max(last_append) DESC
LIMIT {{limit:UInt32}}
"""  # noqa: S608 - constants; values are bound by the server

EVENTS = f"""
SELECT replica_id, at, toString(state), reason, partition
FROM replica_events FINAL
WHERE namespace = {{namespace:String}} AND endpoint = {{endpoint:String}} AND replica_id IN ({_CHOSEN})
ORDER BY at DESC, offset DESC
LIMIT {{limit:UInt32}}
"""  # noqa: S608 - constants; values are bound by the server

SETTINGS = """
SELECT at, min_replicas, max_replicas FROM endpoint_settings FINAL
WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
ORDER BY at DESC, offset DESC
LIMIT {limit:UInt32}
"""


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """Minimum and maximum replicas, in effect from `at_s` on."""

    at_s: float
    min_replicas: int
    max_replicas: int


@dataclass(frozen=True, slots=True)
class KnownReplica:
    """A replica: what was reported about it, and its states. `pending` is None while it is unknown,
    and if no agent reports requests.

    From `unknown_since_s` on nothing is known about it. `unknown_reason` says why the replica, or only its `pending`,
    is unknown, if the reason is more specific than a late pipeline. `copies` more processes sent under a boot of its
    agent, and `conflicts` batches came from too many processes.
    """

    replica: str
    state: ShownState | None
    unknown_since_s: float | None
    unknown_reason: str
    present: bool
    alive: bool
    first_s: float | None
    last_s: float | None
    boots: int
    copies: int
    conflicts: int
    pending: int | None
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Replicas:
    """The endpoint's replicas, by id, and its settings, by time.

    From `unknown_since_s` on, it is unknown which are running.
    """

    replicas: tuple[KnownReplica, ...]
    settings: tuple[ReplicaSettings, ...]
    unknown_since_s: float | None = None
    paused: tuple[PausedPartition, ...] = ()
    """The paused partitions, of all endpoints."""

    def in_force(self, moment_s: float) -> ReplicaSettings | None:
        """Return the settings in effect at a moment, or None before the first."""
        number = bisect_right(self.settings, moment_s, key=lambda each: each.at_s)
        return self.settings[number - 1] if number else None


@dataclass(frozen=True, slots=True)
class Known:
    """Whether an endpoint was ever reported, the end of its newest stored interval, and whether any of its boots has
    losses or conflicts.
    """

    exists: bool
    newest_s: float | None
    has_losses: bool
    has_conflicts: bool


async def read_known(reader: Reader, namespace: str, endpoint: str) -> Known:
    """Return what is known of an endpoint at a glance; raises StoreError."""
    of = {"namespace": namespace, "endpoint": endpoint}
    count, newest, has_losses, has_conflicts = (await reader.read(KNOWN, of))[0]
    if count:
        return Known(True, _seconds(newest) or None, bool(has_losses), bool(has_conflicts))
    return Known(bool((await reader.read(KNOWN_OTHERWISE, of))[0][0]), None, False, False)


async def read_replicas(
    reader: Reader,
    namespace: str,
    endpoint: str,
    from_s: float,
    to_s: float,
    now_s: float,
    presence: Presence,
) -> Replicas:
    """Return the replicas that were present at any time in the range; raises StoreError."""
    of = {"namespace": namespace, "endpoint": endpoint, "limit": MAX_ROWS}
    now = _moment(now_s)
    progress = await read_progress(reader)
    # While the pipeline is late, the last report may be long ago.
    judged_from_s = progress.judged_from(now, presence).timestamp()
    # Those present now count too: whether it is known which replicas run does not depend on the range.
    heard_from_s = min(from_s, judged_from_s - presence.grace.total_seconds())
    since = {
        "heard_from": _text(heard_from_s - presence.heartbeat.total_seconds()),
        "events_from": _text(from_s),
        "waiting_from": _text(min(from_s, judged_from_s) - presence.waiting.total_seconds()),
    }
    async with query_group() as group:
        boots = group.create_task(reader.read(BOOTS, of | since))
        events = group.create_task(reader.read(EVENTS, of | since))
        settings = group.create_task(reader.read(SETTINGS, of))
        paused = group.create_task(read_still_paused(reader))
    reasons = {(each.stream, each.partition): str(each) for each in paused.result()}
    boots_of: dict[str, list[_Boot]] = {}
    for replica, *boot in boots.result():
        boots_of.setdefault(replica, []).append(_Boot._make(boot))
    events_of: dict[str, list[tuple[Event, int]]] = {}
    for replica, at, state, reason, partition in reversed(events.result()):
        event = Event(_seconds(at), state, reason)
        if event.at_s <= now_s:
            events_of.setdefault(replica, []).append((event, partition))
    moment = Moment(progress, presence, now)
    found: list[KnownReplica] = []
    known: list[ReplicaNow] = []
    for replica in sorted(boots_of.keys() | events_of.keys()):
        own_boots, own_events = boots_of.get(replica, []), events_of.get(replica, [])
        known.append(moment.replica(replica, _agent_report(own_boots), _state_report(own_events)))
        found.append(_replica(known[-1], own_boots, own_events, reasons, moment))
    unknown_since = moment.unknown_since(known)
    return Replicas(
        tuple(each for each in found if _was_there(each, from_s, to_s)),
        tuple(ReplicaSettings(_seconds(at), least, most) for at, least, most in reversed(settings.result())),
        None if unknown_since is None else unknown_since.timestamp(),
        paused.result(),
    )


class _Boot(NamedTuple):
    """A row of BOOTS, without its replica."""

    first_at: datetime
    last_at: datetime
    append: datetime
    newest_partition: StreamPartition
    request_streams: int
    requests_append: datetime
    newest_requests: tuple[int, int]
    """The partition of its newest request batch, and what it then held."""
    copies: int
    conflicts: int


def _reason(partitions: Iterable[StreamPartition], reasons: Mapping[StreamPartition, str]) -> str:
    return next((reasons[partition] for partition in partitions if partition in reasons), "")


def _agent_report(boots: list[_Boot]) -> AgentReport | None:
    if not boots:
        return None
    newest = max(boots, key=lambda boot: boot.append)
    requests = sorted(
        RequestReport(_moment(_seconds(boot.requests_append)), *boot.newest_requests)
        for boot in boots
        if boot.request_streams
    )
    return AgentReport(
        _moment(_seconds(newest.append)),
        newest.newest_partition,
        requests[-1].partition if requests else None,
        tuple(requests),
    )


def _state_report(events: list[tuple[Event, int]]) -> StateReport | None:
    if not events:
        return None
    event, partition = events[-1]
    return StateReport(event.state, _moment(event.at_s), partition)


def _replica(
    replica: ReplicaNow,
    boots: list[_Boot],
    events: list[tuple[Event, int]],
    reasons: Mapping[StreamPartition, str],
    moment: Moment,
) -> KnownReplica:
    past = [event for event, _ in events]
    lives = [AgentLife(_seconds(boot.first_at), _seconds(boot.append)) for boot in boots]
    begun = [life.first_s for life in lives] + [event.at_s for event in past[:1]]
    heard_s = [_seconds(boot.last_at) for boot in boots] + [event.at_s for event in past[-1:]]
    unknown_since = replica.unknown_since
    paused = ""
    if unknown_since:
        paused = _reason(replica.partitions, reasons)
    elif replica.reports_requests and replica.levels is None:
        paused = _reason(
            [("requests", boot.newest_requests[0]) for boot in boots if boot.request_streams], reasons
        )
    # A stored event counts, even if it is newer than what is reported as read.
    seen_to_s = max([replica.heard.moment(moment.now).timestamp(), *(event.at_s for event in past[-1:])])
    spans = spans_of(replica.replica_id, past, lives, moment.presence, seen_to_s)
    return KnownReplica(
        replica=replica.replica_id,
        state=replica.state,
        unknown_since_s=None if unknown_since is None else unknown_since.timestamp(),
        unknown_reason=paused,
        present=replica.is_present,
        alive=replica.is_alive,
        first_s=min(begun, default=None),
        last_s=max(heard_s, default=None),
        boots=len(boots),
        copies=sum(boot.copies for boot in boots),
        conflicts=sum(boot.conflicts for boot in boots),
        pending=replica.levels.pending if replica.levels else None,
        spans=spans
        if unknown_since is None or not spans
        else unknown_from(spans, unknown_since.timestamp(), paused or LATE),
    )


def _was_there(replica: KnownReplica, from_s: float, to_s: float) -> bool:
    """Whether the replica was reported in the range, or was then in a state other than terminated and failed."""
    if replica.first_s is None or replica.last_s is None or replica.first_s >= to_s:
        return False
    if replica.last_s >= from_s:
        return True
    return any(
        span.from_s < to_s and span.to_s > from_s and span.state not in ("terminated", "failed")
        for span in replica.spans
    )


def _seconds(at: datetime) -> float:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _text(at_s: float) -> str:
    return _moment(max(at_s, 0.0)).strftime("%Y-%m-%d %H:%M:%S.%f")
