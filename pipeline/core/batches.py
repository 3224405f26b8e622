"""Many request batches as one set of columns: lists of numbers become arrays, with the batch index of each row.

Window slots: a batch covers one window or a few adjacent ones; each (batch, window) pair is a slot, numbered batch by
batch. Intervals are half-open: an event at the exact end counts in the last microsecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.schemas.packed_requests import PackedBatch
from endpoint_analytics.schemas.requests import RequestBatch

Batch = RequestBatch | PackedBatch
"""A request batch, with its rows as lists or packed."""

WINDOW_US = 10_000_000
"""The length of a window: 10 s, tumbling, aligned to the epoch."""

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Intervals:
    """The batches' intervals and their window slots.

    Arrays with one value per batch: `start_us`, `length_us`, `first_window` (number since the epoch),
    `slot_base` (number of the batch's first slot). Arrays with one value per slot: `slot_batch`, `slot_window`,
    `slot_from_us` and `slot_to_us` (offsets after the batch's start).
    """

    start_us: _Ints
    length_us: _Ints
    first_window: _Ints
    slot_base: _Ints
    slot_batch: _Ints
    slot_window: _Ints
    slot_from_us: _Ints
    slot_to_us: _Ints

    def slots_of(self, batch: _Ints, at_us: _Ints) -> _Ints:
        """Return the slot of each row, from its batch and its offset."""
        window = (self.start_us[batch] + at_us) // WINDOW_US
        slots: _Ints = self.slot_base[batch] + window - self.first_window[batch]
        return slots


def intervals_of(batches: Sequence[Batch]) -> Intervals:
    """Return the intervals of the batches, and their slots."""
    count = len(batches)
    start_us = np.fromiter((b.start_us for b in batches), np.int64, count)
    length_us = np.fromiter((b.end_us for b in batches), np.int64, count) - start_us
    first_window = start_us // WINDOW_US
    slots = (start_us + np.maximum(length_us - 1, 0)) // WINDOW_US - first_window + 1
    slot_base = np.cumsum(slots) - slots
    slot_batch = np.repeat(np.arange(count), slots)
    slot_window = first_window[slot_batch] + np.arange(len(slot_batch)) - slot_base[slot_batch]
    slot_start = slot_window * WINDOW_US - start_us[slot_batch]
    return Intervals(
        start_us,
        length_us,
        first_window,
        slot_base,
        slot_batch,
        slot_window,
        np.maximum(slot_start, 0),
        np.minimum(slot_start + WINDOW_US, length_us[slot_batch]),
    )


@dataclass(frozen=True, slots=True)
class Column:
    """One phase of all batches: the batch and the offset of each row."""

    batch: _Ints
    at_us: _Ints

    def counts(self, batches: int) -> list[int]:
        """Return how many rows each batch has."""
        counts: list[int] = np.bincount(self.batch, minlength=batches).tolist()
        return counts

    def placed(self, intervals: Intervals) -> Column:
        """Return the column with offsets at the exact end of an interval moved into it by a microsecond."""
        last = np.maximum(intervals.length_us - 1, 0)[self.batch]
        return Column(self.batch, np.minimum(self.at_us, last))


def column(lists: Sequence[list[int]]) -> Column:
    """Return the rows of one phase, from the batches' `at_us` lists."""
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    return Column(np.repeat(np.arange(len(lists)), lengths), values(lists, int(lengths.sum())))


def values(lists: Iterable[list[int]], count: int) -> _Ints:
    """Return the concatenated values of the lists."""
    return np.fromiter(chain.from_iterable(lists), np.int64, count)
