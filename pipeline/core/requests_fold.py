"""The fold of request batches: merges columns into windows and boots, the batches of all partitions at once.

A message is small and an operation on an array has a fixed cost, so the more batches share the arrays, the better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.pipeline.core.batches import (
    WINDOW_US,
    Batch,
    Column,
    Intervals,
    intervals_of,
)
from endpoint_analytics.pipeline.core.boots import Boot
from endpoint_analytics.pipeline.core.copies import since
from endpoint_analytics.pipeline.core.grouped import Grouped
from endpoint_analytics.pipeline.core.levels import Levels, levels_of
from endpoint_analytics.pipeline.core.request_rows import RequestRows, rows_of
from endpoint_analytics.pipeline.core.sketch import buckets_of
from endpoint_analytics.pipeline.core.sparse import CODES, count_pairs
from endpoint_analytics.pipeline.core.windows import Windows
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.limits import MAX_SUM_US

_Ints = NDArray[np.int64]
_PHASES = ("arrived", "informational", "responded", "aborted_pending", "finished", "aborted_streaming")
_GROUP_SHIFT = 40
_NUMBER_MASK = (1 << _GROUP_SHIFT) - 1
Accepted = tuple[Boot, Batch, int]
"""A batch to be counted: its boot, the batch, its offset in the Kafka log."""


class Folded(NamedTuple):
    """The number of events counted, and the errors of invalid batches, by offset: those change nothing."""

    events: int
    refused: dict[int, InvalidMessageError]


def fold_requests(
    groups: Sequence[tuple[Windows, Sequence[Accepted]]], rows: RequestRows | None = None
) -> list[Folded]:
    """Fold the batches of each group, a partition's, into its windows and its boots' cumulative counts.

    `rows` are those of all batches, if they are known. All batches are readable: see `rows_of`.
    """
    refused = [dict[int, InvalidMessageError]() for _ in groups]
    accepted = [each for _, batches in groups for each in batches]
    group = np.repeat(np.arange(len(groups)), [len(batches) for _, batches in groups])
    while accepted:
        batches = [batch for _, batch, _ in accepted]
        columns = _Columns(batches, rows or rows_of(batches)[0])
        found = columns.faults()
        if not found:
            columns.add_to([windows for windows, _ in groups], group, accepted)
            events = columns.events_of(group, len(groups))
            return [Folded(*each) for each in zip(events, refused, strict=True)]
        for index, error in found.items():
            refused[group[index]][accepted[index][2]] = error
        accepted = [each for index, each in enumerate(accepted) if index not in found]
        rows = None
        group = np.delete(group, list(found))
    return [Folded(0, each) for each in refused]


class _Columns:
    """All phases of some batches as arrays, and their levels."""

    def __init__(self, batches: Sequence[Batch], rows: RequestRows) -> None:
        self.batches = batches
        self.intervals: Intervals = intervals_of(batches)
        self.arrived, self.informational = rows.arrived.column, rows.informational.column
        self.responded, self.finished = rows.responded.column, rows.finished.column
        self.aborted_pending = rows.aborted_pending.column
        self.aborted_streaming = rows.aborted_streaming.column
        self.waits, self.durations = rows.responded.measured, rows.finished.measured
        self.statuses, self.interim = rows.responded.status, rows.informational.status
        self.levels: Levels | None = None

    def events_of(self, group: _Ints, groups: int) -> list[int]:
        """Return the number of rows of all phases of each group's batches."""
        batch = np.concatenate([getattr(self, name).batch for name in _PHASES])
        counts: list[int] = np.bincount(group[batch], minlength=groups).tolist()
        return counts

    def faults(self) -> dict[int, InvalidMessageError]:
        """Return the batches with offsets past their end, or else those with negative levels."""
        length_us = self.intervals.length_us
        faults: dict[int, InvalidMessageError] = {}
        for name in _PHASES:
            phase: Column = getattr(self, name)
            for row in np.flatnonzero(phase.at_us > length_us[phase.batch]).tolist():
                index = int(phase.batch[row])
                faults.setdefault(
                    index,
                    InvalidMessageError(
                        "out_of_interval",
                        f"{name}.at_us holds {phase.at_us[row]}; the interval is {length_us[index]} long",
                    ),
                )
            setattr(self, name, phase.placed(self.intervals))
        if faults:
            return faults
        count = len(self.batches)
        self.levels = levels_of(
            self.intervals,
            np.fromiter((b.pending for b in self.batches), np.int64, count),
            np.fromiter((b.streaming for b in self.batches), np.int64, count),
            (self.arrived, self.responded, self.aborted_pending, self.finished, self.aborted_streaming),
        )
        for slot in np.flatnonzero(self.levels.least < 0).tolist():
            faults.setdefault(
                int(self.intervals.slot_batch[slot]),
                InvalidMessageError(
                    "not_conserved",
                    "more requests ended than there were: pending or streaming falls to "
                    f"{self.levels.least[slot]} within the interval",
                ),
            )
        return faults

    def add_to(self, windows: Sequence[Windows], group: _Ints, accepted: Sequence[Accepted]) -> None:
        """Merge the batches, which have no faults, into the windows of each batch's group, and into boots."""
        intervals, levels = self.intervals, self.levels
        if levels is None:
            raise RuntimeError("call faults() first")
        slot_batch = intervals.slot_batch
        slot_group = group[slot_batch]
        numbers = np.fromiter(
            (
                windows[number].number(accepted[index][0].key, window)
                for number, index, window in zip(
                    slot_group.tolist(), slot_batch.tolist(), intervals.slot_window.tolist(), strict=True
                )
            ),
            np.int64,
            len(slot_batch),
        )
        # The rows that change, those of a group together.
        places, row_of_slot = np.unique(slot_group << _GROUP_SHIFT | numbers, return_inverse=True)
        rows = len(places)

        def row_of(phase: Column) -> _Ints:
            found: _Ints = row_of_slot[intervals.slots_of(phase.batch, phase.at_us)]
            return found

        finished, responded = row_of(self.finished), row_of(self.responded)
        durations, waits = self.durations, self.waits

        per_slot = Grouped(row_of_slot, rows)
        offsets = np.fromiter((offset for _, _, offset in accepted), np.int64, len(accepted))
        oldest = np.fromiter((b.oldest_pending_us for b in self.batches), np.int64, len(accepted))
        # A batch reports its oldest pending request at its end, so it belongs to the last slot.
        last_slot = np.append(intervals.slot_base[1:], len(slot_batch)) - 1
        slot_oldest = np.zeros(len(slot_batch), dtype=np.int64)
        slot_oldest[last_slot] = oldest
        window_start = intervals.slot_window * WINDOW_US - intervals.start_us[slot_batch]
        covered_to = intervals.slot_to_us - window_start
        newest = per_slot.newest(covered_to)
        merged = {
            "arrived": np.bincount(row_of(self.arrived), minlength=rows),
            "finished": np.bincount(finished, minlength=rows),
            "aborted_pending": np.bincount(row_of(self.aborted_pending), minlength=rows),
            "aborted_streaming": np.bincount(row_of(self.aborted_streaming), minlength=rows),
            "pending_request_us": per_slot.sum(levels.pending_us),
            "streaming_request_us": per_slot.sum(levels.streaming_us),
            "pending_max": per_slot.greatest(levels.pending_max),
            "streaming_max": per_slot.greatest(levels.streaming_max),
            "active_max": per_slot.greatest(levels.active_max),
            "oldest_pending_us": per_slot.greatest(slot_oldest),
            "version": per_slot.greatest(offsets[slot_batch]),
            "covered_from_us": per_slot.least(intervals.slot_from_us - window_start),
            "covered_to_us": covered_to[newest],
            "pending_last": levels.pending_last[newest],
            "streaming_last": levels.streaming_last[newest],
        }
        for name, row, measured in (("latency", finished, durations), ("ttfb", responded, waits)):
            per_request = Grouped(row, rows)
            merged[f"{name}_count"] = np.bincount(row, minlength=rows)
            merged[f"{name}_sum_us"] = per_request.sum(measured)
            merged[f"{name}_min_us"] = per_request.least(measured)
            merged[f"{name}_max_us"] = per_request.greatest(measured)
        pairs = {
            "latency": count_pairs(finished, buckets_of(durations)),
            "ttfb": count_pairs(responded, buckets_of(waits)),
            "status": count_pairs(
                np.concatenate([responded, row_of(self.informational)]),
                np.concatenate([self.statuses, self.interim]),
            ),
        }
        changed, starts = np.unique(places >> _GROUP_SHIFT, return_index=True)
        for number, start, end in zip(changed.tolist(), starts, np.append(starts[1:], rows), strict=True):
            own = places[start:end] & _NUMBER_MASK
            windows[number].merge(own, {name: values[start:end] for name, values in merged.items()})
            for name, (keys, counts) in pairs.items():
                first, last = np.searchsorted(keys, (start * CODES, end * CODES))
                found = keys[first:last]
                windows[number].sparse[name].add(
                    own[found // CODES - start] * CODES + found % CODES, counts[first:last]
                )
        self._add_to_boots(accepted)

    def _add_to_boots(self, accepted: Sequence[Accepted]) -> None:
        if self.levels is None:
            raise RuntimeError("call faults() first")
        count = len(accepted)
        latency_sum = Grouped(self.finished.batch, count).sum(self.durations).tolist()
        ttfb_sum = Grouped(self.responded.batch, count).sum(self.waits).tolist()
        last_slot = np.append(self.intervals.slot_base[1:], len(self.intervals.slot_batch)) - 1
        counts = zip(
            accepted,
            self.arrived.counts(count),
            self.responded.counts(count),
            ttfb_sum,
            self.finished.counts(count),
            latency_sum,
            self.aborted_pending.counts(count),
            self.aborted_streaming.counts(count),
            self.levels.pending_last[last_slot].tolist(),
            self.levels.streaming_last[last_slot].tolist(),
            strict=True,
        )
        for (
            boot,
            batch,
            _,
        ), arrived, responded, wait, finished, duration, left, cut, pending, streaming in counts:
            boot.arrived += arrived
            boot.finished += finished
            if left:
                boot.aborted_pending += left
            if cut:
                boot.aborted_streaming += cut
            boot.ttfb_count += responded
            boot.latency_sum_us += duration
            if boot.latency_sum_us > MAX_SUM_US:
                boot.latency_sum_us = MAX_SUM_US
            boot.ttfb_sum_us += wait
            if boot.ttfb_sum_us > MAX_SUM_US:
                boot.ttfb_sum_us = MAX_SUM_US
            if boot.saw(batch.seq, batch.start_us, batch.end_us):
                boot.pending = pending
                boot.streaming = streaming
                boot.oldest_pending_us = batch.oldest_pending_us
                boot.totals = since(batch.totals, boot.inherited)
        keys, times = count_pairs(
            np.concatenate([self.responded.batch, self.informational.batch]),
            np.concatenate([self.statuses, self.interim]),
        )
        for index, code, added in zip(
            (keys // CODES).tolist(), (keys % CODES).tolist(), times.tolist(), strict=True
        ):
            status = accepted[index][0].status
            status[code] = status.get(code, 0) + added
