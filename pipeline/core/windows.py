"""The open chunk's request windows: one row for each boot and window, stored as columns of integers.

Each column merges in its own way: counts are added, maxima keep the greatest value, end levels the newest. Statuses and
sketches are sparse counts, which are added too; `rows` makes columns of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.core.sparse import SparseCounts
from endpoint_analytics.schemas.limits import MAX_SUM_US

_Ints = NDArray[np.int64]

ADDED = (
    "arrived",
    "finished",
    "aborted_pending",
    "aborted_streaming",
    "pending_request_us",
    "streaming_request_us",
    "latency_count",
    "latency_sum_us",
    "ttfb_count",
    "ttfb_sum_us",
)
GREATEST = (
    "version",
    "pending_max",
    "streaming_max",
    "active_max",
    "oldest_pending_us",
    "latency_max_us",
    "ttfb_max_us",
)
LEAST = ("covered_from_us", "latency_min_us", "ttfb_min_us")
NEWEST = ("covered_to_us", "pending_last", "streaming_last")  # together, at the greatest covered_to_us
SPARSE = ("status", "latency", "ttfb")
NONE_YET = np.iinfo(np.int64).max
"""The value of a LEAST column before the first one is merged."""
_EMPTY = dict.fromkeys(LEAST, NONE_YET)


def grow(columns: dict[str, _Ints], rows: int, empty: Mapping[str, int]) -> None:
    """Make the columns at least so long; new rows have the value of their column in `empty`, or 0."""
    have = min(map(len, columns.values()))
    if rows <= have:
        return
    added = max(2 * have, rows, 256) - have
    for name, column in columns.items():
        columns[name] = np.concatenate([column, np.full(added, empty.get(name, 0), dtype=np.int64)])


class Windows:
    """Rows by (boot, window number); a row keeps its number for the chunk's life."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[BootKey, int], int] = {}
        self.keys: list[tuple[BootKey, int]] = []
        self._columns = {name: np.empty(0, dtype=np.int64) for name in ADDED + GREATEST + LEAST + NEWEST}
        self.sparse = {name: SparseCounts() for name in SPARSE}
        self._dirty: list[_Ints] = []

    def number(self, boot: BootKey, window: int) -> int:
        """Return the row's number, assigning a new one if needed."""
        key = (boot, window)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.keys)
            self.keys.append(key)
        return number

    def merge(self, rows: _Ints, values: dict[str, _Ints]) -> None:
        """Merge one value of each column into each of `rows`, which are distinct.

        Sums saturate at MAX_SUM_US, so that no message can make them overflow 64 bits.
        """
        grow(self._columns, len(self.keys), _EMPTY)
        columns = self._columns
        for name in ADDED:
            columns[name][rows] = np.minimum(columns[name][rows] + values[name], MAX_SUM_US)
        for name in GREATEST:
            columns[name][rows] = np.maximum(columns[name][rows], values[name])
        for name in LEAST:
            columns[name][rows] = np.minimum(columns[name][rows], values[name])
        newer = values["covered_to_us"] >= columns["covered_to_us"][rows]
        for name in NEWEST:
            columns[name][rows[newer]] = values[name][newer]
        self._dirty.append(rows)

    def take_dirty(self) -> _Ints:
        """Return the numbers of the rows that changed since the last call, ascending."""
        if not self._dirty:
            return np.empty(0, dtype=np.int64)
        dirty = np.unique(np.concatenate(self._dirty))
        self._dirty.clear()
        return dirty

    def values(self, rows: _Ints) -> dict[str, _Ints]:
        """Return each column's values at `rows`; a LEAST column without a value gives 0."""
        found = {name: column[rows] for name, column in self._columns.items()}
        for name in LEAST:
            found[name][found[name] == NONE_YET] = 0
        return found
