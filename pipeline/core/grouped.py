"""Exact integer reductions of values by their group: what arrays of requests become in the rows of windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.pipeline.core.windows import NONE_YET

_Ints = NDArray[np.int64]


class Grouped:
    """`group` is the number of each value's group, from 0 to below `groups`."""

    def __init__(self, group: _Ints, groups: int) -> None:
        self.group = group
        self._groups = groups

    def count(self, chosen: NDArray[np.bool_]) -> _Ints:
        """Return how many of the chosen values each group has."""
        return np.bincount(self.group[chosen], minlength=self._groups)

    def sum(self, measured: _Ints) -> _Ints:
        """Return the sums."""
        total = np.zeros(self._groups, dtype=np.int64)
        np.add.at(total, self.group, measured)
        return total

    def greatest(self, measured: _Ints) -> _Ints:
        """Return the greatest value of each group, at least 0."""
        most = np.zeros(self._groups, dtype=np.int64)
        np.maximum.at(most, self.group, measured)
        return most

    def least(self, measured: _Ints) -> _Ints:
        """Return the least value of each group, NONE_YET without any."""
        least = np.full(self._groups, NONE_YET, dtype=np.int64)
        np.minimum.at(least, self.group, measured)
        return least

    def newest(self, at: _Ints) -> _Ints:
        """Return, for each group, the index of the value with the greatest `at`, the last one if equal."""
        order = np.lexsort((at, self.group))  # stable: equal ones stay in log order
        group = self.group[order]
        last: _Ints = order[np.append(np.flatnonzero(np.diff(group)), len(group) - 1)]
        return last
