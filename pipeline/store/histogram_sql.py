"""The queries for histograms: durations of pieces of a level, their revisions, and what is not rolled up yet.

A piece is a range of time at one level, [from, to) in seconds since 1970. A query has several, as parameters that are
arrays of the same length, and returns the number of the piece, from 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from endpoint_analytics.pipeline.store.durations import PHASES
from endpoint_analytics.pipeline.store.rollup_levels import MINUTE, TEN_SECONDS, RollupLevel

# Replicas that a scrape may show, as in BOOTS of `endpoint_metrics`; those that have gone may be many more.
_SHOWN = """(namespace, endpoint, replica_id) IN
    (
        SELECT namespace, endpoint, replica_id FROM boots
        WHERE WHOSE AND last_append >= {present_from:DateTime64(3, 'UTC')}
        UNION DISTINCT
        SELECT namespace, endpoint, replica_id FROM replica_events
        WHERE WHOSE AND at >= {waiting_from:DateTime64(6, 'UTC')}
    )"""

_PIECE = """arrayFirstIndex(
            (start, end) -> toUnixTimestamp(window_start) >= start AND toUnixTimestamp(window_start) < end,
            {begins:Array(UInt32)}, {ends:Array(UInt32)})"""
_IN_PIECES = """window_start >= toDateTime(arrayMin({begins:Array(UInt32)}), 'UTC')
        AND window_start < toDateTime(arrayMax({ends:Array(UInt32)}), 'UTC')"""

NAMED = "replica_id IN {names:Array(String)}"

_DURATIONS = """
SELECT namespace, endpoint, replica_id, {piece} AS piece,
    {latency}, sum(latency_sum_us), {ttfb}, sum(ttfb_sum_us)
FROM {table} FINAL
WHERE WHOSE AND {in_pieces} AND piece > 0
    AND {shown}
GROUP BY namespace, endpoint, replica_id, piece
"""


# sumMap takes twice as long as all the rest of the query. A few windows may come as they are, for `merge` to add up.
_ADDED_UP = "sumMap({phase}_buckets, {phase}_counts)"
_AS_THEY_ARE = "groupArrayArray({phase}_buckets), groupArrayArray({phase}_counts)"


def durations_sql(level: RollupLevel) -> str:
    """Return the query for the durations of each replica and piece: buckets with counts, and the sum."""
    columns = _AS_THEY_ARE if level is TEN_SECONDS else _ADDED_UP
    latency, ttfb = (columns.format(phase=phase) for phase in PHASES)
    return _filled(_DURATIONS, level, latency=latency, ttfb=ttfb)


def _filled(sql: str, level: RollupLevel, **columns: str) -> str:
    return sql.format(table=level.requests, piece=_PIECE, in_pieces=_IN_PIECES, shown=_SHOWN, **columns)


# Of each endpoint and piece: the newest rollup and the number of windows, of its part before `kept` and of all of it.
# Rows of the whole endpoint have no replica.
_REVISIONS = """
SELECT namespace, endpoint, {piece} AS piece,
    maxIf(version, is_kept),
    uniqExactIf(window_start, toUnixTimestamp(window_start) < {{kepts:Array(UInt32)}}[piece] AS is_kept),
    max(version), uniqExact(window_start)
FROM {table}
WHERE WHOSE AND replica_id = '' AND {in_pieces} AND piece > 0
GROUP BY namespace, endpoint, piece
"""


def revisions_sql(level: RollupLevel) -> str:
    """Return the query for the revisions of each endpoint's pieces, before `kept` and before `to`."""
    return _filled(_REVISIONS, level)


# The oldest rows that the coarser level does not have yet, so it may not be read for their time: they count at once,
# and do not vanish for a moment when they come of age. Rows that are even later count as soon as they are rolled up.
_NOT_ROLLED_UP = """
SELECT namespace, endpoint, '{level}', toUnixTimestamp(min(window_start))
FROM {table}
WHERE WHOSE AND stored_at >= fromUnixTimestamp64Milli({{{looked_at}:Int64}}, 'UTC')
    AND window_start >= stored_at - INTERVAL {late_s} SECOND
GROUP BY namespace, endpoint
"""
_UNROLLED: Sequence[tuple[RollupLevel, str, int]] = (
    (TEN_SECONDS, "minutes_looked_at", 3_600),
    (MINUTE, "hours_looked_at", 21_600),
)
NOT_ROLLED_UP = "UNION ALL".join(
    _NOT_ROLLED_UP.format(level=level.name, table=level.requests, looked_at=looked_at, late_s=late_s)
    for level, looked_at, late_s in _UNROLLED
)
