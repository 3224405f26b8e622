"""Reads all endpoints of a namespace at once, for a list: replicas, settings and freshness.

Their request figures come from `series`, for all endpoints together. Only endpoints that were ever reported appear.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.progress import read_progress
from endpoint_analytics.pipeline.store.query_group import query_group
from endpoint_analytics.pipeline.store.read_model import AgentReport, Moment, RequestReport, StateReport
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.schemas.identity import UNASSIGNED

MAX_ENDPOINTS = 1000

NAMESPACES = """
SELECT DISTINCT namespace FROM boots UNION DISTINCT SELECT DISTINCT namespace FROM replica_events
UNION DISTINCT SELECT DISTINCT namespace FROM endpoint_settings
"""

# Rows with an empty replica_id are whole endpoints, however old; replicas are limited to those possibly present now.
HEARD = """
SELECT endpoint, replica_id, max(last_at), max(last_append) AS append, argMax((stream, partition), last_append),
    if(countIf(stream = 'requests') > 0, argMaxIf(partition, last_append, stream = 'requests'), NULL),
    groupArrayIf((last_append, partition, pending),
        stream = 'requests' AND last_append >= {present_from:DateTime64(3, 'UTC')})
FROM boots FINAL
WHERE namespace = {namespace:String}
GROUP BY GROUPING SETS ((endpoint, replica_id), (endpoint))
HAVING replica_id = '' OR append >= {heard_from:DateTime64(3, 'UTC')}
"""

STATES = """
SELECT endpoint, replica_id, toString(argMax(state, (at, offset))), max(at) AS reported,
    argMax(partition, (at, offset))
FROM replica_events FINAL
WHERE namespace = {namespace:String}
GROUP BY GROUPING SETS ((endpoint, replica_id), (endpoint))
HAVING replica_id = '' OR reported >= {heard_from:DateTime64(3, 'UTC')} OR (endpoint, replica_id) IN
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
    """The current state of an endpoint; `pending` is None if no agent is alive that
    reports requests.

    Unknown values are None; while the pipeline is late, `unknown_since_s` says since when.
    """

    endpoint: str
    running: int | None
    replicas: int | None
    unknown_since_s: float | None
    min_replicas: int | None
    max_replicas: int | None
    pending: int | None
    newest_at_s: float | None


async def read_namespaces(reader: Reader) -> list[str]:
    """Return the namespaces that were ever reported."""
    return sorted(row[0] for row in await reader.read(NAMESPACES, {}))


async def read_endpoints(
    reader: Reader, namespace: str, now: datetime, presence: Presence
) -> list[EndpointNow]:
    """Return the namespace's endpoints, by name, at most MAX_ENDPOINTS; raises StoreError."""
    progress = await read_progress(reader)
    judged_from = progress.judged_from(now, presence)
    heard_from = judged_from - max(presence.waiting, presence.grace)
    present_from = judged_from - presence.grace
    of = {"namespace": namespace, "heard_from": _text(heard_from)[:-3]}
    async with query_group() as group:
        heard = group.create_task(reader.read(HEARD, of | {"present_from": _text(present_from)[:-3]}))
        reported = group.create_task(reader.read(STATES, of))
        current = group.create_task(reader.read(SETTINGS, {"namespace": namespace, "now": _text(now)}))
    agents: dict[str, dict[str, AgentReport]] = {}
    newest: dict[str, float] = {}
    for endpoint, replica, last_at, append_at, partition, requests_partition, requests in heard.result():
        if replica:
            reports = tuple(RequestReport(*report) for report in requests)
            agent = AgentReport(append_at, partition, requests_partition, reports)
            agents.setdefault(endpoint, {})[replica] = agent
        else:
            newest[endpoint] = last_at.timestamp()
    states: dict[str, dict[str, StateReport]] = {}
    for endpoint, replica, *state in reported.result():
        of_endpoint = states.setdefault(endpoint, {})
        if replica:
            of_endpoint[replica] = StateReport._make(state)
    moment = Moment(progress, presence, now)
    settings = {row[0]: (row[2], row[3]) if row[1] else (None, None) for row in current.result()}
    return [
        _endpoint(
            endpoint,
            agents.get(endpoint, {}),
            states.get(endpoint, {}),
            settings.get(endpoint, (None, None)),
            newest.get(endpoint),
            moment,
        )
        for endpoint in sorted(newest.keys() | states.keys() | settings.keys())[:MAX_ENDPOINTS]
    ]


def _endpoint(
    endpoint: str,
    agents: dict[str, AgentReport],
    states: dict[str, StateReport],
    settings: tuple[int | None, int | None],
    newest_at_s: float | None,
    moment: Moment,
) -> EndpointNow:
    known = [
        moment.replica(name, agents.get(name), states.get(name)) for name in agents.keys() | states.keys()
    ]
    named = [each for each in known if each.is_present and each.replica_id != UNASSIGNED]
    unknown_since = moment.unknown_since(known)
    levels = [each.levels for each in known if each.is_present and each.reports_requests]
    held = [each.pending for each in levels if each is not None]
    is_current = any(each.is_present and each.is_alive for each in known) and len(held) == len(levels) > 0
    return EndpointNow(
        endpoint=endpoint,
        running=moment.running(known),
        replicas=None if unknown_since else sum(each.state not in ("terminated", "failed") for each in named),
        unknown_since_s=unknown_since.timestamp() if unknown_since else None,
        min_replicas=settings[0],
        max_replicas=settings[1],
        pending=sum(held) if is_current else None,
        newest_at_s=newest_at_s,
    )


def _text(at: datetime) -> str:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).strftime("%Y-%m-%d %H:%M:%S.%f")
