"""The fold of request batches: merges columns into windows and boots, all batches of a run at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.pipeline.core.batches import (
    WINDOW_US,
    Column,
    Intervals,
    column,
    intervals_of,
    values,
)
from endpoint_analytics.pipeline.core.boots import Boot
from endpoint_analytics.pipeline.core.copies import since
from endpoint_analytics.pipeline.core.levels import Levels, levels_of
from endpoint_analytics.pipeline.core.sketch import buckets_of
from endpoint_analytics.pipeline.core.sparse import CODES, SparseCounts, count_pairs
from endpoint_analytics.pipeline.core.windows import NONE_YET, Windows
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.limits import MAX_SUM_US
from endpoint_analytics.schemas.requests import RequestBatch

_Ints = NDArray[np.int64]
_PHASES = ("arrived", "informational", "responded", "aborted_pending", "finished", "aborted_streaming")
Accepted = tuple[Boot, RequestBatch, int]
"""A batch to be counted: its boot, the batch, its offset in the Kafka log."""


def fold_requests(
    windows: Windows, accepted: Sequence[Accepted]
) -> tuple[int, dict[int, InvalidMessageError]]:
    """Fold the batches into the windows and the boots' cumulative counts.

    Returns the number of events counted, and the errors of invalid batches, by offset: those change nothing.
    """
    events, refused = 0, dict[int, InvalidMessageError]()
    while accepted:
        columns = _Columns([batch for _, batch, _ in accepted])
        found = columns.faults()
        if not found:
            columns.add_to(windows, accepted)
            events = columns.events
            break
        refused.update({accepted[index][2]: error for index, error in found.items()})
        accepted = [item for index, item in enumerate(accepted) if index not in found]
    return events, refused


class _Columns:
    """All phases of some batches as arrays, and their levels."""

    def __init__(self, batches: Sequence[RequestBatch]) -> None:
        self.batches = batches
        self.intervals: Intervals = intervals_of(batches)
        self.arrived = column([b.arrived.at_us for b in batches])
        self.informational = column([b.informational.at_us for b in batches])
        self.responded = column([b.responded.at_us for b in batches])
        self.aborted_pending = column([b.aborted_pending.at_us for b in batches])
        self.finished = column([b.finished.at_us for b in batches])
        self.aborted_streaming = column([b.aborted_streaming.at_us for b in batches])
        self.levels: Levels | None = None

    @property
    def events(self) -> int:
        """Return the number of rows of all phases of all batches."""
        return sum(len(getattr(self, name).batch) for name in _PHASES)

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

    def add_to(self, windows: Windows, accepted: Sequence[Accepted]) -> None:
        """Merge the batches, which have no faults, into windows and boots."""
        intervals, levels = self.intervals, self.levels
        if levels is None:
            raise RuntimeError("call faults() first")
        slot_batch = intervals.slot_batch.tolist()
        slot_rows = np.fromiter(
            (
                windows.number(accepted[index][0].key, window)
                for index, window in zip(slot_batch, intervals.slot_window.tolist(), strict=True)
            ),
            np.int64,
            len(slot_batch),
        )
        rows, group_of_slot = np.unique(slot_rows, return_inverse=True)
        groups = len(rows)

        def group_of(phase: Column) -> _Ints:
            found: _Ints = group_of_slot[intervals.slots_of(phase.batch, phase.at_us)]
            return found

        finished, responded = group_of(self.finished), group_of(self.responded)
        durations = values((b.finished.duration_us for b in self.batches), len(finished))
        waits = values((b.responded.wait_us for b in self.batches), len(responded))
        statuses = values((b.responded.status for b in self.batches), len(responded))
        interim = values((b.informational.status for b in self.batches), len(self.informational.batch))

        per_slot = _Grouped(group_of_slot, groups)
        offsets = np.fromiter((offset for _, _, offset in accepted), np.int64, len(accepted))
        oldest = np.fromiter((b.oldest_pending_us for b in self.batches), np.int64, len(accepted))
        # A batch reports its oldest pending request at its end, so it belongs to the last slot.
        last_slot = np.append(intervals.slot_base[1:], len(slot_batch)) - 1
        slot_oldest = np.zeros(len(slot_batch), dtype=np.int64)
        slot_oldest[last_slot] = oldest
        window_start = intervals.slot_window * WINDOW_US - intervals.start_us[intervals.slot_batch]
        covered_to = intervals.slot_to_us - window_start
        newest = per_slot.newest(covered_to)
        merged = {
            "arrived": np.bincount(group_of(self.arrived), minlength=groups),
            "finished": np.bincount(finished, minlength=groups),
            "aborted_pending": np.bincount(group_of(self.aborted_pending), minlength=groups),
            "aborted_streaming": np.bincount(group_of(self.aborted_streaming), minlength=groups),
            "pending_request_us": per_slot.sum(levels.pending_us),
            "streaming_request_us": per_slot.sum(levels.streaming_us),
            "pending_max": per_slot.greatest(levels.pending_max),
            "streaming_max": per_slot.greatest(levels.streaming_max),
            "active_max": per_slot.greatest(levels.active_max),
            "oldest_pending_us": per_slot.greatest(slot_oldest),
            "version": per_slot.greatest(offsets[intervals.slot_batch]),
            "covered_from_us": per_slot.least(intervals.slot_from_us - window_start),
            "covered_to_us": covered_to[newest],
            "pending_last": levels.pending_last[newest],
            "streaming_last": levels.streaming_last[newest],
        }
        for name, group, measured in (("latency", finished, durations), ("ttfb", responded, waits)):
            per_request = _Grouped(group, groups)
            merged[f"{name}_count"] = np.bincount(group, minlength=groups)
            merged[f"{name}_sum_us"] = per_request.sum(measured)
            merged[f"{name}_min_us"] = per_request.least(measured)
            merged[f"{name}_max_us"] = per_request.greatest(measured)
        windows.merge(rows, merged)
        _add_pairs(windows.latency, rows, finished, buckets_of(durations))
        _add_pairs(windows.ttfb, rows, responded, buckets_of(waits))
        _add_pairs(windows.status, rows, responded, statuses)
        _add_pairs(windows.status, rows, group_of(self.informational), interim)
        self._add_to_boots(accepted, durations, waits, statuses, interim)

    def _add_to_boots(
        self, accepted: Sequence[Accepted], durations: _Ints, waits: _Ints, statuses: _Ints, interim: _Ints
    ) -> None:
        if self.levels is None:
            raise RuntimeError("call faults() first")
        count = len(accepted)
        latency_sum = _Grouped(self.finished.batch, count).sum(durations).tolist()
        ttfb_sum = _Grouped(self.responded.batch, count).sum(waits).tolist()
        last_slot = np.append(self.intervals.slot_base[1:], len(self.intervals.slot_batch)) - 1
        pending = self.levels.pending_last[last_slot].tolist()
        streaming = self.levels.streaming_last[last_slot].tolist()
        for index, (boot, batch, _) in enumerate(accepted):
            boot.arrived += len(batch.arrived.at_us)
            boot.finished += len(batch.finished.at_us)
            boot.aborted_pending += len(batch.aborted_pending.at_us)
            boot.aborted_streaming += len(batch.aborted_streaming.at_us)
            boot.ttfb_count += len(batch.responded.at_us)
            boot.latency_sum_us = min(boot.latency_sum_us + latency_sum[index], MAX_SUM_US)
            boot.ttfb_sum_us = min(boot.ttfb_sum_us + ttfb_sum[index], MAX_SUM_US)
            if boot.saw(batch.seq, batch.start_us, batch.end_us):
                boot.pending = pending[index]
                boot.streaming = streaming[index]
                boot.oldest_pending_us = batch.oldest_pending_us
                boot.totals = since(batch.totals, boot.inherited)
        keys, counts = count_pairs(
            np.concatenate([self.responded.batch, self.informational.batch]),
            np.concatenate([statuses, interim]),
        )
        for key, times in zip(keys.tolist(), counts.tolist(), strict=True):
            status = accepted[key // CODES][0].status
            status[key % CODES] = status.get(key % CODES, 0) + times


def _add_pairs(sparse: SparseCounts, rows: _Ints, group: _Ints, codes: _Ints) -> None:
    keys, counts = count_pairs(group, codes)
    sparse.add(rows[keys // CODES] * CODES + keys % CODES, counts)


class _Grouped:
    """Exact integer reductions of values by their group."""

    def __init__(self, group: _Ints, groups: int) -> None:
        self._group = group
        self._groups = groups

    def sum(self, measured: _Ints) -> _Ints:
        total = np.zeros(self._groups, dtype=np.int64)
        np.add.at(total, self._group, measured)
        return total

    def greatest(self, measured: _Ints) -> _Ints:
        most = np.zeros(self._groups, dtype=np.int64)
        np.maximum.at(most, self._group, measured)
        return most

    def least(self, measured: _Ints) -> _Ints:
        least = np.full(self._groups, NONE_YET, dtype=np.int64)
        np.minimum.at(least, self._group, measured)
        return least

    def newest(self, at: _Ints) -> _Ints:
        """Return, for each group, the index of the value with the greatest `at`, the last one if equal."""
        order = np.lexsort((at, self._group))  # stable: equal ones stay in log order
        group = self._group[order]
        last: _Ints = order[np.append(np.flatnonzero(np.diff(group)), len(group) - 1)]
        return last
