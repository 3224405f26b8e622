"""Reading what is known of an endpoint's replicas over a range: boots, events, settings, and how fresh it is.

What follows from the rows is told in `series_states` and `presence`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from endpoint_analytics.pipeline.store.endpoint_metrics import Reader
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.presence import LastHeard, Presence, is_alive, is_present, shown_state
from endpoint_analytics.pipeline.store.series_states import Event, Life, Span, spans_of
from endpoint_analytics.schemas.replicas import State

MAX_ROWS = 50_000
"""Boots, or events, of one answer; beyond them the oldest are left out."""

KNOWN = """
SELECT
    (SELECT count() FROM boots WHERE namespace = {namespace:String} AND endpoint = {endpoint:String})
    + (SELECT count() FROM replica_events WHERE namespace = {namespace:String} AND endpoint = {endpoint:String})
    + (SELECT count() FROM endpoint_settings WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}),
    (SELECT max(last_at) FROM boots WHERE namespace = {namespace:String} AND endpoint = {endpoint:String})
"""

# Replicas that an agent spoke for since the range began, or that were told to be in a state that had not ended
# by then. All their boots and events are read, since a state follows from what came before it.
_CHOSEN = """
    SELECT replica_id FROM boots
    WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
        AND last_append >= {heard_from:DateTime64(3, 'UTC')}
    UNION DISTINCT
    SELECT replica_id FROM replica_events
    WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
    GROUP BY replica_id
    HAVING max(at) >= {told_from:DateTime64(6, 'UTC')} OR (max(at) >= {waiting_from:DateTime64(6, 'UTC')}
        AND argMax(state, (at, offset)) NOT IN ('terminated', 'failed'))
"""

# One row a boot, its two streams and partitions together.
BOOTS = f"""
SELECT replica_id, min(first_at), max(last_at), max(last_append),
    sumIf(pending, stream = 'requests' AND last_append >= {{alive_from:DateTime64(3, 'UTC')}})
FROM boots FINAL
WHERE namespace = {{namespace:String}} AND endpoint = {{endpoint:String}} AND replica_id IN ({_CHOSEN})
GROUP BY replica_id, boot_id
ORDER BY max(last_append) DESC
LIMIT {{limit:UInt32}}
"""  # noqa: S608 - constants; values are bound by the server

EVENTS = f"""
SELECT replica_id, at, toString(state), reason
FROM replica_events FINAL
WHERE namespace = {{namespace:String}} AND endpoint = {{endpoint:String}} AND replica_id IN ({_CHOSEN})
ORDER BY at DESC, offset DESC
LIMIT {{limit:UInt32}}
"""  # noqa: S608 - constants; values are bound by the server

SETTINGS = """
SELECT at, min_replicas, max_replicas FROM endpoint_settings FINAL
WHERE namespace = {namespace:String} AND endpoint = {endpoint:String}
ORDER BY at, offset
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """Minimum and maximum replicas, in force from `at_s` on."""

    at_s: float
    min_replicas: int
    max_replicas: int


@dataclass(frozen=True, slots=True)
class KnownReplica:
    """A replica: what was heard of it, and its states."""

    replica: str
    state: State | None
    present: bool
    alive: bool
    first_s: float | None
    last_s: float | None
    boots: int
    pending: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Replicas:
    """The endpoint's replicas, by id, and its settings, by time."""

    replicas: tuple[KnownReplica, ...]
    settings: tuple[Settings, ...]

    def in_force(self, moment_s: float) -> Settings | None:
        """Return the settings at a moment, None before the first."""
        return next((each for each in reversed(self.settings) if each.at_s <= moment_s), None)


async def read_known(reader: Reader, namespace: str, endpoint: str) -> tuple[bool, float | None]:
    """Return whether anything was ever heard of the endpoint, and the end of its newest stored interval."""
    rows = await reader.read(KNOWN, {"namespace": namespace, "endpoint": endpoint})
    count, newest = rows[0]
    newest_s = None if newest is None else _seconds(newest)
    return bool(count), newest_s or None


async def read_replicas(
    reader: Reader,
    namespace: str,
    endpoint: str,
    from_s: float,
    to_s: float,
    now_s: float,
    presence: Presence,
) -> Replicas:
    """Return the replicas that were there at any time of the range; raises StoreError."""
    of = {"namespace": namespace, "endpoint": endpoint, "limit": MAX_ROWS}
    heartbeat_s = presence.heartbeat.total_seconds()
    since = {
        "heard_from": _text(from_s - heartbeat_s),
        "told_from": _text(from_s),
        "waiting_from": _text(from_s - presence.waiting.total_seconds()),
        "alive_from": _text(now_s - heartbeat_s),
    }
    try:
        async with asyncio.TaskGroup() as group:
            boots = group.create_task(reader.read(BOOTS, of | since))
            events = group.create_task(reader.read(EVENTS, of | since))
            settings = group.create_task(reader.read(SETTINGS, of))
    except* StoreError as errors:
        raise errors.exceptions[0] from None
    boots_of: dict[str, list[Any]] = {}
    for replica, *boot in boots.result():
        boots_of.setdefault(replica, []).append(boot)
    events_of: dict[str, list[Event]] = {}
    for replica, at, state, reason in reversed(events.result()):
        events_of.setdefault(replica, []).append(Event(_seconds(at), state, reason))
    found = (
        _replica(replica, boots_of.get(replica, []), events_of.get(replica, []), now_s, presence)
        for replica in sorted(boots_of.keys() | events_of.keys())
    )
    return Replicas(
        tuple(each for each in found if _was_there(each, from_s, to_s)),
        tuple(Settings(_seconds(at), least, most) for at, least, most in settings.result()),
    )


def _replica(
    replica: str, boots: list[Any], events: list[Event], now_s: float, presence: Presence
) -> KnownReplica:
    lives = [Life(_seconds(first), _seconds(append)) for first, _, append, _ in boots]
    past = [event for event in events if event.at_s <= now_s]
    append_s = max((life.last_s for life in lives), default=None)
    heard = LastHeard(
        append_at=None if append_s is None else _moment(append_s),
        state=past[-1].state if past else None,
        state_at=_moment(past[-1].at_s) if past else None,
    )
    now = _moment(now_s)
    present = is_present(heard, presence, now)
    begun = [life.first_s for life in lives] + [event.at_s for event in past[:1]]
    heard_s = [_seconds(last) for _, last, _, _ in boots] + [event.at_s for event in past[-1:]]
    return KnownReplica(
        replica=replica,
        state=shown_state(replica, heard, presence, now) if heard.append_at or heard.state else None,
        present=present,
        alive=is_alive(heard, presence, now),
        first_s=min(begun, default=None),
        last_s=max(heard_s, default=None),
        boots=len(boots),
        pending=sum(boot[3] for boot in boots),
        spans=spans_of(replica, past, lives, presence, now_s),
    )


def _was_there(replica: KnownReplica, from_s: float, to_s: float) -> bool:
    """Whether the replica was heard of in the range, or was in a state other than an end."""
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
