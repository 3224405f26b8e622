"""Sparse counts: how often each code (a status, a sketch's bucket) came in each row.

A pair (row, code) is one integer, row * CODES + code; counts are kept as sorted keys and their counts. What
is added waits until somebody looks, and is merged then, all at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CODES = 2048
"""Codes lie below this: HTTP statuses up to 599, buckets up to 1,358."""

_Ints = NDArray[np.int64]
_EMPTY: _Ints = np.empty(0, dtype=np.int64)


def count_pairs(rows: _Ints, codes: _Ints) -> tuple[_Ints, _Ints]:
    """Return the sorted distinct keys of the pairs, and how often each came."""
    keys = rows * CODES + codes
    keys.sort()
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts], np.diff(starts, append=len(keys))


class SparseCounts:
    """Counts by (row, code) that only grow."""

    __slots__ = ("_counts", "_keys", "_waiting")

    def __init__(self) -> None:
        self._keys = _EMPTY
        self._counts = _EMPTY
        self._waiting: list[tuple[_Ints, _Ints]] = []

    def add(self, keys: _Ints, counts: _Ints) -> None:
        """Add counts for keys (row * CODES + code), in any order."""
        if len(keys):
            self._waiting.append((keys, counts))
            if len(self._waiting) >= 64:
                self._merge()

    def row(self, row: int) -> tuple[_Ints, _Ints]:
        """Return the codes of a row, ascending, and their counts."""
        if self._waiting:
            self._merge()
        start, end = np.searchsorted(self._keys, (row * CODES, (row + 1) * CODES))
        return self._keys[start:end] - row * CODES, self._counts[start:end]

    def _merge(self) -> None:
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._waiting)])
        counts = np.concatenate([self._counts, *(counts for _, counts in self._waiting)])
        self._waiting.clear()
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        self._keys = keys[starts]
        self._counts = np.add.reduceat(counts, starts)
