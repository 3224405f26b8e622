"""How the columns of request windows are combined: over chunks, over processes, over time.

Rollups and series queries take the same three steps, so their SQL is generated here, once, from one table of columns.
Only this SQL belongs here. Each step reads the rows of the previous one:

- chunks: merge the rows of one boot and 10 s window;
- boots: merge the boots of the requested replica, or of all replicas, in one 10 s window;
- time: merge the windows of a step. Rolled-up rows enter here.

Statuses are only strung together until the last step, which adds them up: a sumMap for each boot and window would be
half of the cost.
"""

from __future__ import annotations

from endpoint_analytics.pipeline.core.windows import ADDED

PEAKS = ("pending_max", "streaming_max", "active_max")  # peak of a process: summed over processes
LASTS = ("pending_last", "streaming_last")
GREATEST = ("oldest_pending_us", "latency_max_us", "ttfb_max_us")
_SKETCHES = ("latency", "ttfb")

COUNTS = (*ADDED, *PEAKS, *LASTS, *GREATEST, "covered_us", "status")
"""The columns that the time step yields, in this order; `status` is a pair of arrays."""


def _chunks() -> str:
    columns = [f"sum(w.{name}) AS {name}" for name in ADDED]
    columns += [f"max(w.{name}) AS {name}" for name in (*PEAKS, *GREATEST)]
    columns += [f"argMax(w.{name}, w.covered_to_us) AS {name}" for name in LASTS]
    columns += ["min(w.covered_from_us) AS from_us", "max(w.covered_to_us) AS to_us"]
    columns += ["(groupArrayArray(w.status_codes), groupArrayArray(w.status_counts)) AS status"]
    return ", ".join(columns)


def _boots() -> str:
    columns = [f"sum(b.{name}) AS {name}" for name in (*ADDED, *PEAKS, *LASTS)]
    columns += [f"max(b.{name}) AS {name}" for name in GREATEST]
    # From the first report to the last: the time that two concurrent replicas cover counts once.
    columns += ["toUInt64(greatest(max(b.to_us) - min(b.from_us), 0)) AS covered_us"]
    columns += ["(groupArrayArray(b.status.1), groupArrayArray(b.status.2)) AS status"]
    return ", ".join(columns)


def _time(sketches: bool) -> str:
    columns = [f"sum(t.{name}) AS {name}" for name in ADDED]
    columns += [f"max(t.{name}) AS {name}" for name in (*PEAKS,)]
    columns += [f"argMax(t.{name}, t.window_start) AS {name}" for name in LASTS]
    columns += [f"max(t.{name}) AS {name}" for name in GREATEST]
    columns += ["sum(t.covered_us) AS covered_us"]
    pairs = ("status", *_SKETCHES) if sketches else ("status",)
    columns += [f"sumMap(t.{name}.1, t.{name}.2) AS {name}" for name in pairs]
    return ", ".join(columns)


def _rolled(sketches: bool) -> str:
    """Return the columns of a rolled-up row as the time step reads them."""
    columns = [*ADDED, *PEAKS, *LASTS, *GREATEST, "covered_us", "(status_codes, status_counts) AS status"]
    if sketches:
        columns += [f"({name}_buckets, {name}_counts) AS {name}" for name in _SKETCHES]
    return ", ".join(columns)


CHUNKS = _chunks()
BOOTS = _boots()
TIME, TIME_WITH_SKETCHES = _time(False), _time(True)
ROLLED, ROLLED_WITH_SKETCHES = _rolled(False), _rolled(True)

STORED = ", ".join(
    (
        *COUNTS[:-1],
        "status_codes",
        "status_counts",
        *(f"{name}_{part}" for name in _SKETCHES for part in ("buckets", "counts")),
    )
)
"""The columns of a rolled-up table that store the result of TIME_WITH_SKETCHES."""

TO_STORE = ", ".join(
    (*COUNTS[:-1], *(f"{name}.{part}" for name in ("status", *_SKETCHES) for part in (1, 2)))
)
"""The values for STORED, from a row of TIME_WITH_SKETCHES."""
