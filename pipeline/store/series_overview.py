"""Reading all endpoints of a namespace at once, for a list of them: replicas, settings, how fresh each is.

The figures of their requests are `series` with every endpoint. Only endpoints of which anything was ever heard
are there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from endpoint_analytics.pipeline.store.endpoint_metrics import Reader
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.presence import LastHeard, Presence, is_alive, is_present, shown_state
from endpoint_analytics.schemas.identity import UNASSIGNED
from endpoint_analytics.schemas.replicas import State

MAX_ENDPOINTS = 1000

NAMESPACES = """
SELECT DISTINCT namespace FROM boots UNION DISTINCT SELECT DISTINCT namespace FROM replica_events
UNION DISTINCT SELECT DISTINCT namespace FROM endpoint_settings
"""

# Rows with an empty replica_id are whole endpoints, however old; of replicas those that may be there now.
HEARD = """
SELECT endpoint, replica_id, max(last_at), max(last_append) AS append,
    sumIf(pending, stream = 'requests' AND last_append >= {alive_from:DateTime64(3, 'UTC')})
FROM boots FINAL
WHERE namespace = {namespace:String}
GROUP BY GROUPING SETS ((endpoint, replica_id), (endpoint))
HAVING replica_id = '' OR append >= {heard_from:DateTime64(3, 'UTC')}
"""

TOLD = """
SELECT endpoint, replica_id, toString(argMax(state, (at, offset))), max(at) AS told
FROM replica_events FINAL
WHERE namespace = {namespace:String}
GROUP BY GROUPING SETS ((endpoint, replica_id), (endpoint))
HAVING replica_id = '' OR told >= {heard_from:DateTime64(3, 'UTC')} OR (endpoint, replica_id) IN
(
    SELECT endpoint, replica_id FROM boots
    WHERE namespace = {namespace:String} AND last_append >= {heard_from:DateTime64(3, 'UTC')}
)
"""

SETTINGS = """
SELECT endpoint, countIf(at <= {now:DateTime64(6, 'UTC')}),
    argMaxIf(min_replicas, (at, offset), at <= {now:DateTime64(6, 'UTC')}),
    argMaxIf(max_replicas, (at, offset), at <= {now:DateTime64(6, 'UTC')})
FROM endpoint_settings FINAL
WHERE namespace = {namespace:String}
GROUP BY endpoint
"""


@dataclass(frozen=True, slots=True)
class EndpointNow:
    """An endpoint as it is now; `pending` is None when no agent lives."""

    endpoint: str
    running: int
    replicas: int
    min_replicas: int | None
    max_replicas: int | None
    pending: int | None
    newest_at_s: float | None


async def read_namespaces(reader: Reader) -> list[str]:
    """Return the namespaces of which anything was ever heard."""
    return sorted(row[0] for row in await reader.read(NAMESPACES, {}))


async def read_endpoints(
    reader: Reader, namespace: str, now: datetime, presence: Presence
) -> list[EndpointNow]:
    """Return the namespace's endpoints, by name, at most MAX_ENDPOINTS; raises StoreError."""
    heard_from = now - max(presence.waiting, presence.grace)
    of = {"namespace": namespace, "heard_from": _text(heard_from)[:-3]}
    try:
        async with asyncio.TaskGroup() as group:
            heard = group.create_task(
                reader.read(HEARD, of | {"alive_from": _text(now - presence.heartbeat)[:-3]})
            )
            told = group.create_task(reader.read(TOLD, of))
            current = group.create_task(reader.read(SETTINGS, {"namespace": namespace, "now": _text(now)}))
    except* StoreError as errors:
        raise errors.exceptions[0] from None
    appends: dict[str, dict[str, tuple[datetime, int]]] = {}
    newest: dict[str, float] = {}
    for endpoint, replica, last_at, append, pending in heard.result():
        if replica:
            appends.setdefault(endpoint, {})[replica] = (append, pending)
        else:
            newest[endpoint] = last_at.timestamp()
    states: dict[str, dict[str, tuple[State, datetime]]] = {}
    for endpoint, replica, state, at in told.result():
        of_endpoint = states.setdefault(endpoint, {})
        if replica:
            of_endpoint[replica] = (state, at)
    settings = {row[0]: (row[2], row[3]) if row[1] else (None, None) for row in current.result()}
    return [
        _endpoint(
            endpoint,
            appends.get(endpoint, {}),
            states.get(endpoint, {}),
            settings.get(endpoint, (None, None)),
            newest.get(endpoint),
            now,
            presence,
        )
        for endpoint in sorted(newest.keys() | states.keys() | settings.keys())[:MAX_ENDPOINTS]
    ]


def _endpoint(
    endpoint: str,
    appends: dict[str, tuple[datetime, int]],
    states: dict[str, tuple[State, datetime]],
    settings: tuple[int | None, int | None],
    newest_at_s: float | None,
    now: datetime,
    presence: Presence,
) -> EndpointNow:
    shown: list[State | None] = []
    alive = False
    for replica in appends.keys() | states.keys():
        append_at, _ = appends.get(replica, (None, 0))
        state, state_at = states.get(replica, (None, None))
        heard = LastHeard(append_at, state, state_at)
        alive = alive or is_alive(heard, presence, now)
        if replica != UNASSIGNED and is_present(heard, presence, now):
            shown.append(shown_state(replica, heard, presence, now))
    return EndpointNow(
        endpoint=endpoint,
        running=shown.count("running"),
        replicas=sum(state not in ("terminated", "failed") for state in shown),
        min_replicas=settings[0],
        max_replicas=settings[1],
        pending=sum(pending for _, pending in appends.values()) if alive else None,
        newest_at_s=newest_at_s,
    )


def _text(at: datetime) -> str:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).strftime("%Y-%m-%d %H:%M:%S.%f")
