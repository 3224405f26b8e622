"""The rollup statements: which windows were touched, and the absolute rows of the coarser level.

SQL only; `rollup` decides when to run it. `window` is the coarser level's window, of length `seconds`.
"""

from __future__ import annotations

from endpoint_analytics.pipeline.store.rollup_window import OF_THE_WINDOWS, VERSION, WHOSE, WINDOW
from endpoint_analytics.pipeline.store.series_columns import (
    BOOTS,
    CHUNKS,
    COUNTS,
    ROLLED_WITH_SKETCHES,
    STORED,
    TIME,
    TIME_WITH_SKETCHES,
    TO_STORE,
)

# Windows with finer rows stored since the last check, unless the coarser row was computed well after the newest of
# them, or since this check began. Both lists are read without FINAL: a replaced row only causes one more check.
_TOUCHED = """
WITH touched AS
(
    SELECT namespace, endpoint, toUnixTimestamp({window}) AS window, max(stored_at) AS newest, count() AS rows
    FROM {source}
    WHERE stored_at >= {{stored_from:DateTime64(3, 'UTC')}}
        AND window_start >= toDateTime({{keep_from:UInt32}}, 'UTC')
    GROUP BY namespace, endpoint, window
    HAVING window + {{seconds:UInt32}} <= {{settled:UInt32}}
),
rolled AS
(
    SELECT namespace, endpoint, toUnixTimestamp(window_start) AS window, max(version) AS version
    FROM {target}
    WHERE (namespace, endpoint) IN (SELECT namespace, endpoint FROM touched)
        AND toUnixTimestamp(window_start) IN (SELECT window FROM touched)
    GROUP BY namespace, endpoint, window
)
SELECT namespace, endpoint, window, rows
FROM touched LEFT JOIN rolled USING (namespace, endpoint, window)
WHERE toUnixTimestamp64Milli(newest) * 1000 + {{slack_us:UInt64}} > version AND version < {{begun_us:UInt64}}
ORDER BY newest, namespace, endpoint, window
LIMIT {{limit:UInt32}}
"""


def touched(source: str, target: str) -> str:
    """Return the query for the windows of `target` whose rows in `source` changed, and how many rows those are."""
    return _TOUCHED.format(source=source, target=target, window=WINDOW)


# Sketches are summed separately from the counts, first those of a replica, then all of them. A row that arrives between
# the reads of one statement causes its window to be recomputed, like any row within the slack.
# The row with an empty replica_id is the whole endpoint.
_SKETCH = """
(
    SELECT namespace, endpoint, replica AS replica_id, window, sumMap(r.sketch.1, r.sketch.2) AS sketch
    FROM
    (
        SELECT namespace, endpoint, replica_id, {window} AS window,
            sumMap({which}_buckets, {which}_counts) AS sketch
        FROM request_windows FINAL
        PREWHERE {of_the_windows}
        GROUP BY namespace, endpoint, replica_id, window
    ) AS r
    ARRAY JOIN ['', r.replica_id] AS replica
    GROUP BY namespace, endpoint, replica, window
)
"""


def _sketch(which: str) -> str:
    return _SKETCH.format(which=which, window=WINDOW, of_the_windows=OF_THE_WINDOWS)


REQUESTS_OF_WINDOWS = f"""
INSERT INTO request_minutes (namespace, endpoint, replica_id, window_start, version, {STORED})
SELECT c.namespace, c.endpoint, c.replica_id, c.window, {VERSION},
    c.{", c.".join(COUNTS[:-1])}, c.status.1, c.status.2, l.sketch.1, l.sketch.2, f.sketch.1, f.sketch.2
FROM
(
    SELECT namespace, endpoint, replica AS replica_id, {WINDOW} AS window, {TIME}
    FROM
    (
        SELECT namespace, endpoint, replica, b.window_start AS window_start, {BOOTS}
        FROM
        (
            SELECT namespace, endpoint, replica_id, boot_id, window_start, {CHUNKS}
            FROM request_windows AS w FINAL
            PREWHERE {OF_THE_WINDOWS}
            GROUP BY namespace, endpoint, replica_id, boot_id, window_start
        ) AS b
        ARRAY JOIN ['', b.replica_id] AS replica
        GROUP BY namespace, endpoint, replica, window_start
    ) AS t
    GROUP BY namespace, endpoint, replica, window
) AS c
LEFT JOIN {_sketch("latency")} AS l USING (namespace, endpoint, replica_id, window)
LEFT JOIN {_sketch("ttfb")} AS f USING (namespace, endpoint, replica_id, window)
"""  # noqa: S608 - constants; values are bound by the server

REQUESTS_OF_MINUTES = f"""
INSERT INTO request_hours (namespace, endpoint, replica_id, window_start, version, {STORED})
SELECT namespace, endpoint, replica_id, window, {VERSION}, {TO_STORE}
FROM
(
    SELECT namespace, endpoint, replica_id, {WINDOW} AS window, {TIME_WITH_SKETCHES}
    FROM
    (
        SELECT namespace, endpoint, replica_id, window_start, {ROLLED_WITH_SKETCHES}
        FROM request_minutes FINAL
        PREWHERE {OF_THE_WINDOWS}
    ) AS t
    GROUP BY namespace, endpoint, replica_id, window
)
"""  # noqa: S608 - constants; values are bound by the server

_SAMPLE_WINDOWS = """
SELECT h.namespace AS namespace, h.endpoint AS endpoint, h.replica_id AS replica_id, h.device AS device,
    h.metric AS metric, h.window_start AS window_start, h.samples AS samples, h.sum AS sum, h.min AS min, h.max AS max,
    e.state IN ('', 'running') AS running
FROM
(
    SELECT w.namespace AS namespace, w.endpoint AS endpoint, w.replica_id AS replica_id, w.device AS device,
        w.metric AS metric, w.window_start AS window_start,
        sum(w.samples) AS samples, sum(w.sum) AS sum, min(w.min) AS min, max(w.max) AS max,
        toDateTime64(window_start, 6, 'UTC') + toIntervalSecond(10) AS ends
    FROM __TABLE__ AS w FINAL
    PREWHERE __WHERE__
    GROUP BY namespace, endpoint, replica_id, device, metric, window_start
) AS h
LEFT ASOF JOIN
(
    SELECT namespace, endpoint, replica_id, at, toString(state) AS state FROM replica_events FINAL WHERE __WHOSE__
) AS e
ON h.namespace = e.namespace AND h.endpoint = e.endpoint AND h.replica_id = e.replica_id AND h.ends >= e.at
"""


def sample_windows(table: str, where: str, whose: str) -> str:
    """Return the query for a table of 10 s sample windows (hardware or serving engines): samples by replica, device,
    metric and window, and whether the replica was running.

    `whose` is the condition of the endpoints, `where` that of the windows, endpoints included. A replica without events
    counts as running while its agent reports.
    """
    query = _SAMPLE_WINDOWS.replace("__TABLE__", table).replace("__WHERE__", where)
    return query.replace("__WHOSE__", whose)


def samples_of_windows(source: str, target: str) -> str:
    """Return the statement that rolls samples up into minutes: into `target`, from the 10 s windows in `source`."""
    return f"""
INSERT INTO {target}
    (namespace, endpoint, replica_id, device, metric, window_start, version, samples, sum, min, max, windows)
SELECT t.namespace, t.endpoint, of.1, of.2, t.metric, {WINDOW} AS window, {VERSION},
    sum(t.samples), sum(t.sum), min(t.min), max(t.max), count()
FROM ({sample_windows(source, OF_THE_WINDOWS, WHOSE)}) AS t
ARRAY JOIN if(t.running, [(t.replica_id, t.device), ('', '')], [(t.replica_id, t.device)]) AS of
GROUP BY t.namespace, t.endpoint, of, t.metric, window
"""  # noqa: S608 - constants; values are bound by the server


def samples_of_minutes(source: str, target: str) -> str:
    """Return the statement that rolls samples up into hours: into `target`, from the minutes in `source`."""
    return f"""
INSERT INTO {target}
    (namespace, endpoint, replica_id, device, metric, window_start, version, samples, sum, min, max, windows)
SELECT t.namespace, t.endpoint, t.replica_id, t.device, t.metric, {WINDOW} AS window, {VERSION},
    sum(t.samples), sum(t.sum), min(t.min), max(t.max), sum(t.windows)
FROM (SELECT * FROM {source} FINAL PREWHERE {OF_THE_WINDOWS}) AS t
GROUP BY t.namespace, t.endpoint, t.replica_id, t.device, t.metric, window
"""  # noqa: S608 - constants; values are bound by the server


STATES = "SELECT target, looked_at, toUnixTimestamp(rolled_to) FROM rollups FINAL"

RECORD = f"""
INSERT INTO rollups SELECT {{target:String}}, {{looked_at:DateTime64(3, 'UTC')}},
    toDateTime({{rolled_to:UInt32}}, 'UTC'), {VERSION}
"""

NOW = "SELECT now64(3, 'UTC')"
