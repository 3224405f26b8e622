"""The queries for series: requests, sketches and samples by step, from the levels that cover the range.

SQL only. A query names only the tables that it reads from; time ranges, steps and names are bound by the server. With
`every_endpoint`, it returns the rows of all endpoints of the namespace.
"""

# ruff: noqa: S608 - statements are assembled from constants; values are bound by the server

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from endpoint_analytics.pipeline.store.rollup_levels import HOUR, LEVELS, MINUTE, TEN_SECONDS
from endpoint_analytics.pipeline.store.rollup_sql import sample_windows
from endpoint_analytics.pipeline.store.series_columns import BOOTS, CHUNKS, ROLLED, TIME
from endpoint_analytics.pipeline.store.series_plan import TimeRanges

Part = Literal["windows", "minutes", "hours"]
Phase = Literal["latency", "ttfb"]
SampleKind = Literal["hardware", "engine"]
QUANTILES = (0.5, 0.9, 0.95, 0.99)

AT = "{origin:UInt32} + intDiv(toUnixTimestamp(window_start) - {origin:UInt32}, {step:UInt32}) * {step:UInt32} AS at"
"""The start of a window's step."""
_ONE_ENDPOINT = "namespace = {namespace:String} AND endpoint = {endpoint:String}"
_ONE_REPLICA = "({replica:String} = '' OR replica_id = {replica:String})"


def parts_of(time_ranges: TimeRanges) -> tuple[Part, ...]:
    """Return the levels that are read."""
    levels: tuple[Part, ...] = ("windows", "minutes", "hours")
    return tuple(part for part in levels if any(first < last for first, last in getattr(time_ranges, part)))


def time_range_parameters(time_ranges: TimeRanges) -> dict[str, Any]:
    """Return the query parameters for the time ranges."""
    return {
        f"{part}_{index}_{end}": moment
        for part in ("windows", "minutes", "hours")
        for index, time_range in enumerate(getattr(time_ranges, part))
        for end, moment in zip(("from", "to"), time_range, strict=True)
    }


def where_of(part: Part, every_endpoint: bool) -> str:
    """Return the condition for the windows of one endpoint, or of every endpoint of the namespace."""
    of = "namespace = {namespace:String}" if every_endpoint else _ONE_ENDPOINT
    time_ranges = " OR ".join(
        f"(window_start >= toDateTime({{{part}_{index}_from:UInt32}}, 'UTC')"
        f" AND window_start < toDateTime({{{part}_{index}_to:UInt32}}, 'UTC'))"
        for index in (0, 1)
    )
    return f"{of} AND ({time_ranges})"


@cache
def requests_sql(parts: tuple[Part, ...], every_endpoint: bool) -> str:
    """Return the query with the columns: endpoint, start of the step, and `series_columns.COUNTS`."""
    sources = {
        "windows": f"""
        SELECT endpoint, window_start, {BOOTS} FROM
        (
            SELECT endpoint, replica_id, boot_id, window_start, {CHUNKS} FROM request_windows AS w FINAL
            PREWHERE {where_of("windows", every_endpoint)} AND {_ONE_REPLICA}
            GROUP BY endpoint, replica_id, boot_id, window_start
        ) AS b
        GROUP BY endpoint, window_start""",
        "minutes": f"""
        SELECT endpoint, window_start, {ROLLED} FROM request_minutes FINAL
        PREWHERE {where_of("minutes", every_endpoint)} AND replica_id = {{replica:String}}""",
        "hours": f"""
        SELECT endpoint, window_start, {ROLLED} FROM request_hours FINAL
        PREWHERE {where_of("hours", every_endpoint)} AND replica_id = {{replica:String}}""",
    }
    union = "\n        UNION ALL".join(sources[part] for part in parts)
    return f"SELECT endpoint, {AT}, {TIME} FROM ({union}\n) AS t GROUP BY endpoint, at ORDER BY endpoint, at"


@cache
def sketch_sql(phases: tuple[Phase, ...], parts: tuple[Part, ...], every_endpoint: bool, whole: bool) -> str:
    """Return the query with the columns: endpoint, start of the step, and for each phase the buckets that contain
    QUANTILES, none without requests.

    ClickHouse's weighted quantile takes the sketches as they are, at a fraction of the cost of summing them, and finds
    the bucket that `core.sketch.quantiles` finds. With `whole`, a step that starts at 0 has all of them.
    """
    tables = {
        "windows": f"request_windows FINAL PREWHERE {where_of('windows', every_endpoint)} AND {_ONE_REPLICA}",
        "minutes": f"request_minutes FINAL PREWHERE {where_of('minutes', every_endpoint)}"
        " AND replica_id = {replica:String}",
        "hours": f"request_hours FINAL PREWHERE {where_of('hours', every_endpoint)}"
        " AND replica_id = {replica:String}",
    }
    sketches = ", ".join(f"{phase}_buckets, {phase}_counts" for phase in phases)
    union = " UNION ALL ".join(
        f"SELECT endpoint, window_start, {sketches} FROM {tables[part]}" for part in parts
    )
    levels = ", ".join(map(str, QUANTILES))
    quantiles = ", ".join(
        f"if(max(notEmpty({phase}_buckets)),"
        f" quantilesExactWeightedArray({levels})({phase}_buckets, {phase}_counts), [])"
        for phase in phases
    )
    return f"""
SELECT endpoint, {AT}, {quantiles}
FROM ({union})
GROUP BY endpoint, at {"WITH ROLLUP" if whole else ""}
ORDER BY endpoint, at
"""


@cache
def samples_sql(kind: SampleKind, parts: tuple[Part, ...], details: bool) -> str:
    """Return the query that yields one row per series: replica, device, metric; steps; samples, sums, windows.

    Without `details`, it covers one replica or, if that is empty, all running replicas combined. An empty list of
    metrics means all.
    """
    tables = {level: level.hardware if kind == "hardware" else level.engine for level in LEVELS}
    chosen = "1" if details else "({replica:String} != '' OR running)"
    rolled = f"replica_id != '' AND {_ONE_REPLICA}" if details else "replica_id = {replica:String}"
    metrics = "(empty({metrics:Array(String)}) OR metric IN {metrics:Array(String)})"
    inner = f"{where_of('windows', False)} AND {metrics} AND {_ONE_REPLICA}"
    sources = {
        "windows": "SELECT replica_id, device, metric, window_start, samples, sum, toUInt64(1) AS windows"
        f" FROM ({sample_windows(tables[TEN_SECONDS], inner, _ONE_ENDPOINT)}) WHERE {chosen}",
        "minutes": "SELECT replica_id, device, metric, window_start, samples, sum, windows"
        f" FROM {tables[MINUTE]} FINAL PREWHERE {where_of('minutes', False)} AND {metrics} AND {rolled}",
        "hours": "SELECT replica_id, device, metric, window_start, samples, sum, windows"
        f" FROM {tables[HOUR]} FINAL PREWHERE {where_of('hours', False)} AND {metrics} AND {rolled}",
    }
    union = " UNION ALL ".join(sources[part] for part in parts)
    keys = "t.replica_id AS replica, t.device AS device" if details else "'' AS replica, '' AS device"
    return f"""
SELECT replica, device, metric, groupArray(at), groupArray(step_samples), groupArray(step_sum), groupArray(step_windows)
FROM
(
    SELECT {keys}, t.metric AS metric, {AT},
        sum(t.samples) AS step_samples, sum(t.sum) AS step_sum, sum(t.windows) AS step_windows
    FROM ({union}) AS t
    GROUP BY replica, device, metric, at
)
GROUP BY replica, device, metric
ORDER BY metric, replica, device
LIMIT {{limit:UInt32}}
"""
