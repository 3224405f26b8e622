"""Reads outcomes: sums, quantiles and statuses by step, and by the values of one dimension if asked for.

SQL and its rows as numbers on the grid of steps. A step without rows is absent.
"""

# ruff: noqa: S608 - statements are assembled from constants; values are bound by the server

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from endpoint_analytics.pipeline.core.outcomes_fold import ADDED, SKETCHES
from endpoint_analytics.pipeline.store.outcome_sql import MAXIMA
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.series import SeriesQuery
from endpoint_analytics.pipeline.store.series_sql import AT, QUANTILES, Part, parts_of, where_of
from endpoint_analytics.schemas.outcomes import OTHER

Split = Literal["", "route", "model", "caller", "streamed", "input_upto"]
SPLITS: tuple[Split, ...] = ("", "route", "model", "caller", "streamed", "input_upto")
MOST_NAMES = 20
"""Values of a dimension that are told apart, those with the most requests; the rest is OTHER."""
WHOLE = 0
"""Stands for the start of the whole range, among those of its steps."""

_NUMBERS = (*ADDED, *MAXIMA)


@dataclass(frozen=True, slots=True)
class OutcomeFilter:
    """Which slices to read: those with these values; None is any."""

    route: str | None = None
    model: str | None = None
    caller: str | None = None
    streamed: bool | None = None
    input_upto: int | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the queries."""
        found: dict[str, Any] = {}
        for name, value in (("route", self.route), ("model", self.model), ("caller", self.caller)):
            found |= {f"of_{name}": value or "", f"any_{name}": int(value is None)}
        for name, number in (("streamed", self.streamed), ("input_upto", self.input_upto)):
            found |= {f"of_{name}": int(number or 0), f"any_{name}": int(number is None)}
        return found


@dataclass(frozen=True, slots=True)
class OutcomeStep:
    """The outcomes of one step: columns by name, times in microseconds; for each sketch, the buckets with QUANTILES."""

    numbers: Mapping[str, int]
    quantiles: Mapping[str, tuple[int, ...]]
    status: Mapping[int, int]

    @property
    def requests(self) -> int:
        """Return the number of requests."""
        return sum(self.numbers[name] for name in ("complete", "cut", "error", "aborted"))


async def read_outcomes(
    reader: Reader, query: SeriesQuery, of: OutcomeFilter, split: Split
) -> dict[str, dict[int, OutcomeStep]]:
    """Return the outcomes by value of the split and start of the step, and at WHOLE those of the range.

    Without a split there is one value, the empty one. Raises StoreError.
    """
    parts = parts_of(query.read)
    if not parts:
        return {}
    rows = await reader.read(outcomes_sql(parts, split), query.parameters() | of.parameters())
    found: dict[str, dict[int, OutcomeStep]] = {}
    for value, at, *columns in rows:
        numbers, (codes, counts), *sketches = columns[: len(_NUMBERS)], *columns[len(_NUMBERS) :]
        found.setdefault(value, {})[int(at)] = OutcomeStep(
            dict(zip(_NUMBERS, map(int, numbers), strict=True)),
            {name: tuple(buckets) for name, buckets in zip(SKETCHES, sketches, strict=True) if buckets},
            dict(zip(codes, counts, strict=True)),
        )
    return found


@cache
def outcomes_sql(parts: tuple[Part, ...], split: Split) -> str:
    """Return the query with the columns: value of the split, start of the step (0: all), numbers, statuses, and for
    each sketch the buckets that contain QUANTILES, none where it is empty.
    """
    tables = {
        "windows": "outcome_windows FINAL PREWHERE {where}"
        " AND ({{replica:String}} = '' OR replica_id = {{replica:String}})",
        "minutes": "outcome_minutes FINAL PREWHERE {where} AND replica_id = {{replica:String}}",
        "hours": "outcome_hours FINAL PREWHERE {where} AND replica_id = {{replica:String}}",
    }
    kept = " AND ".join(
        f"({{any_{name}:UInt8}} = 1 OR {name} = {{of_{name}:{kind}}})"
        for name, kind in (
            ("route", "String"),
            ("model", "String"),
            ("caller", "String"),
            ("streamed", "UInt8"),
            ("input_upto", "UInt64"),
        )
    )
    lists = ", ".join(f"{name}_buckets, {name}_counts" for name in SKETCHES)
    value = f"toString({split})" if split else "''"
    union = "\n    UNION ALL ".join(
        f"SELECT window_start, {value} AS value, {', '.join(_NUMBERS)}, status_codes, status_counts, {lists}"
        f" FROM {tables[part].format(where=where_of(part, False))} WHERE {kept}"
        for part in parts
    )
    levels = ", ".join(map(str, QUANTILES))
    quantiles = ", ".join(
        f"if(max(notEmpty({name}_buckets)),"
        f" quantilesExactWeightedArray({levels})({name}_buckets, {name}_counts), [])"
        for name in SKETCHES
    )
    numbers = ", ".join([*(f"sum({name})" for name in ADDED), *(f"max({name})" for name in MAXIMA)])
    requests = "sum(complete + cut + error + aborted)"
    return f"""
WITH outcomes AS ({union}),
most AS (SELECT value FROM outcomes GROUP BY value ORDER BY {requests} DESC, value LIMIT {MOST_NAMES})
SELECT if(value IN most, value, '{OTHER}') AS name, {AT}, {numbers},
    sumMap(status_codes, status_counts), {quantiles}
FROM outcomes
GROUP BY GROUPING SETS ((name, at), (name))
ORDER BY name, at
"""
