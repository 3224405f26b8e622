"""Offsets of a partition's Kafka log without a message: transaction markers, and unreadable batches.

They distinguish a missing message from an offset that never had one. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Holes:
    """The known holes of one partition, sorted and disjoint."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __len__(self) -> int:
        return len(self._firsts)

    def add(self, first: int, last: int) -> None:
        """Add the hole `first` to `last`, merging adjacent holes."""
        begin, end = bisect_left(self._lasts, first - 1), bisect_right(self._firsts, last + 1)
        if begin < end:
            first, last = min(first, self._firsts[begin]), max(last, self._lasts[end - 1])
        self._firsts[begin:end] = [first]
        self._lasts[begin:end] = [last]

    def past(self, offset: int) -> int:
        """Return the first offset from `offset` on that is not in a known hole."""
        index = bisect_right(self._firsts, offset)
        if index and self._lasts[index - 1] >= offset:
            return self._lasts[index - 1] + 1
        return offset

    def forget_before(self, offset: int) -> None:
        """Forget the holes that end before `offset`."""
        if not self._lasts or self._lasts[0] >= offset:
            return
        kept = [hole for hole in zip(self._firsts, self._lasts, strict=True) if hole[1] >= offset]
        self._firsts, self._lasts = [first for first, _ in kept], [last for _, last in kept]
