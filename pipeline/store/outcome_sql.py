"""The columns of the tables of outcomes, how they add up, and the statements that roll them up.

SQL only. All columns are sums, maxima or sketches, so that rows of slices, replicas and windows add up in any order.
"""

from __future__ import annotations

from endpoint_analytics.pipeline.core.outcomes_fold import ADDED, GREATEST, SKETCHES
from endpoint_analytics.pipeline.store.rollup_window import OF_THE_WINDOWS, VERSION, WINDOW

DIMENSIONS = ("route", "model", "caller")
SLICE = (*DIMENSIONS, "streamed", "input_upto")
MAXIMA = GREATEST[1:]

_LISTS = (("status_codes", "status_counts"), *((f"{name}_buckets", f"{name}_counts") for name in SKETCHES))
COLUMNS = (*ADDED, *MAXIMA, *(column for pair in _LISTS for column in pair))

SUMS = ", ".join(
    [
        *(f"sum(t.{name}) AS {name}" for name in ADDED),
        *(f"max(t.{name}) AS {name}" for name in MAXIMA),
        *(f"sumMap(t.{codes}, t.{counts}) AS {counts}_map" for codes, counts in _LISTS),
    ]
)
"""All columns of rows of a table `t`, added up; pairs of lists as tuples."""
_STORED = ", ".join(
    [*ADDED, *MAXIMA, *(f"{counts}_map.1, {counts}_map.2" for _, counts in _LISTS)],
)


def roll(source: str, target: str) -> str:
    """Return the statement that rolls up the rows of `source` into `target`, whose windows are longer.

    10 s windows are of processes: their sums are those of the replica, and of the whole endpoint (without a name).
    """
    replicas = "ARRAY JOIN ['', t.replica_id] AS replica" if source == "outcome_windows" else ""
    replica = "replica" if replicas else "t.replica_id"
    names = ", ".join(f"t.{name}" for name in SLICE)
    return f"""
INSERT INTO {target} (namespace, endpoint, replica_id, window_start, {", ".join(SLICE)}, version, {", ".join(COLUMNS)})
SELECT namespace, endpoint, replica_id, window, {", ".join(SLICE)}, {VERSION}, {_STORED}
FROM
(
    SELECT t.namespace AS namespace, t.endpoint AS endpoint, {replica} AS replica_id, {WINDOW} AS window,
        {", ".join(f"t.{name} AS {name}" for name in SLICE)}, {SUMS}
    FROM (SELECT * FROM {source} FINAL PREWHERE {OF_THE_WINDOWS}) AS t
    {replicas}
    GROUP BY t.namespace, t.endpoint, {replica}, window, {names}
)
"""  # noqa: S608 - constants; values are bound by the server
