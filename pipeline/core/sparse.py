"""Sparse counts: how often each code (a status, a sketch's bucket) occurred in each row.

A pair (row, code) is one integer, row * CODES + code; the counts are stored as sorted keys with their counts. Additions
are buffered and merged together on the next read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CODES = 4096
"""Codes are below this: HTTP statuses up to 599, buckets up to 2,510."""

_Ints = NDArray[np.int64]
_EMPTY: _Ints = np.empty(0, dtype=np.int64)


def count_pairs(rows: _Ints, codes: _Ints) -> tuple[_Ints, _Ints]:
    """Return the sorted distinct keys of the pairs, and how often each occurred."""
    keys = rows * CODES + codes
    keys.sort()
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts], np.diff(starts, append=len(keys))


class SparseCounts:
    """Counts by (row, code) that only grow."""

    __slots__ = ("_counts", "_keys", "_pending")

    def __init__(self) -> None:
        self._keys = _EMPTY
        self._counts = _EMPTY
        self._pending: list[tuple[_Ints, _Ints]] = []

    def add(self, keys: _Ints, counts: _Ints) -> None:
        """Add counts for keys (row * CODES + code), in any order."""
        if len(keys):
            self._pending.append((keys, counts))
            if len(self._pending) >= 64:
                self._merge()

    def of(self, rows: _Ints) -> tuple[_Ints, _Ints, _Ints]:
        """Return how many codes each row has, the codes of all rows (in ascending order within each), their counts."""
        if self._pending:
            self._merge()
        starts = np.searchsorted(self._keys, rows * CODES)
        lengths = np.searchsorted(self._keys, (rows + 1) * CODES) - starts
        before = np.cumsum(lengths) - lengths
        places = np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
        return lengths, self._keys[places] % CODES, self._counts[places]

    def _merge(self) -> None:
        added = np.concatenate([keys for keys, _ in self._pending])
        # Rows are numbered as they appear, so most additions are to the last ones: what is before them stays as it is.
        kept = int(np.searchsorted(self._keys, added.min()))
        keys = np.concatenate([self._keys[kept:], added])
        counts = np.concatenate([self._counts[kept:], *(counts for _, counts in self._pending)])
        self._pending.clear()
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        self._keys = np.concatenate([self._keys[:kept], keys[starts]])
        self._counts = np.concatenate([self._counts[:kept], np.add.reduceat(counts, starts)])
