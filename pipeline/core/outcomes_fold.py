"""The fold of outcome batches: requests by window and slice, with sketches of times, tokens and sizes.

A slice is what requests are divided by: route, model, caller, streamed or not, class of input tokens. Its names come
from clients, so a boot has at most MAX_SLICE_ROWS rows in a window; what is beyond them is counted under `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.pipeline.core.batches import WINDOW_US
from endpoint_analytics.pipeline.core.batches import values as concatenated
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.core.grouped import Grouped
from endpoint_analytics.pipeline.core.row_block import Column, Lists, RowBlock
from endpoint_analytics.pipeline.core.rows import Chunk, Row, identity, origin, seconds6, window_starts
from endpoint_analytics.pipeline.core.sketch import buckets_of, count_buckets_of
from endpoint_analytics.pipeline.core.sparse import CODES, SparseCounts, count_pairs
from endpoint_analytics.pipeline.core.windows import grow
from endpoint_analytics.schemas.limits import MAX_SUM_US
from endpoint_analytics.schemas.outcomes import OTHER, OutcomeBatch, SampledRequest, Slice

_Ints = NDArray[np.int64]
UNKNOWN = -1

MAX_SLICE_ROWS = 500
"""Slices of a boot in one window; one more for each class of input tokens may stand for all others."""

ENDS = ("complete", "cut", "error", "aborted")
TIMES = ("latency", "first_byte", "ttft", "tpot", "stall")
"""Sketches of times in microseconds: with `itl`, whose counts the agent has made."""
AMOUNTS = ("input_tokens", "output_tokens", "request_bytes", "response_bytes")
"""Sketches of numbers."""
SUMS = ("events", "cached_tokens", "reasoning_tokens")
"""What has a sum and no sketch; a column of how many requests told it is beside it."""
SKETCHES = (*TIMES, "itl", *AMOUNTS)

ADDED = (
    *ENDS,
    *(f"{name}_sum_us" for name in TIMES),
    "itl_sum_us",
    *(f"{name}_sum" for name in AMOUNTS),
    *(f"{name}_count" for name in SKETCHES),
    *(f"{name}_sum" for name in SUMS),
    *(f"{name}_count" for name in SUMS),
    "estimated",
)
GREATEST = ("version", "latency_max_us", "ttft_max_us", "stall_max_us")

Accepted = tuple[BootKey, OutcomeBatch, int]
"""A batch to be counted: its boot, the batch, its offset in the Kafka log."""


class OutcomeWindows:
    """The open chunk's rows of `outcome_windows`, one for each boot, window and slice, and its sampled requests."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[BootKey, int, Slice], int] = {}
        self._slices: dict[tuple[BootKey, int], int] = {}
        self._keys: list[tuple[BootKey, int, Slice]] = []
        self._columns = {name: np.empty(0, np.int64) for name in ADDED + GREATEST}
        self._sparse = {name: SparseCounts() for name in ("status", *SKETCHES)}
        self._dirty: list[_Ints] = []
        self._samples: list[tuple[BootKey, OutcomeBatch, SampledRequest, int, int]] = []

    def fold(self, batches: Sequence[Accepted]) -> list[int]:
        """Fold batches, in the order of the log; returns the number of requests of each."""
        for key, batch, offset in batches:
            self._samples += (
                (key, batch, sample, number, offset) for number, sample in enumerate(batch.samples)
            )
        _Fold(self, batches).run()
        return [len(batch.outcomes.at_us) for _, batch, _ in batches]

    def number(self, boot: BootKey, window: int, of: Slice) -> int:
        """Return the row's number; there is a new one unless the boot has too many in the window."""
        key = (boot, window, of)
        found = self._numbers.get(key)
        if found is not None:
            return found
        have = self._slices.get((boot, window), 0)
        others = Slice(OTHER, OTHER, OTHER, of.streamed, of.input_upto)
        if have >= MAX_SLICE_ROWS and of != others:
            return self.number(boot, window, others)
        self._slices[boot, window] = have + 1
        self._numbers[key] = len(self._keys)
        self._keys.append(key)
        return self._numbers[key]

    def add(self, rows: _Ints, added: dict[str, _Ints], greatest: dict[str, _Ints]) -> None:
        """Merge one value of each column into each of `rows`, which are distinct."""
        grow(self._columns, len(self._keys), {})
        columns = self._columns
        for name, values in added.items():
            columns[name][rows] = np.minimum(columns[name][rows] + values, MAX_SUM_US)
        for name, values in greatest.items():
            columns[name][rows] = np.maximum(columns[name][rows], values)
        self._dirty.append(rows)

    def count(self, sketch: str, keys: _Ints, counts: _Ints) -> None:
        """Add to a sketch, or to the statuses: counts by row * CODES + code."""
        self._sparse[sketch].add(keys, counts)

    def take_block(self, chunk: Chunk) -> RowBlock | None:
        """Return the rows of windows that changed since the last call."""
        if not self._dirty:
            return None
        numbers = np.unique(np.concatenate(self._dirty))
        self._dirty.clear()
        keys = [self._keys[number] for number in numbers.tolist()]
        columns: dict[str, Column] = {
            **identity([boot for boot, _, _ in keys]),
            "window_start": window_starts([window for _, window, _ in keys]),
            "route": [of.route for _, _, of in keys],
            "model": [of.model for _, _, of in keys],
            "caller": [of.caller for _, _, of in keys],
            "streamed": np.array([of.streamed for _, _, of in keys], np.uint8),
            "input_upto": np.array([of.input_upto for _, _, of in keys], np.uint64),
            **origin(chunk, len(keys)),
        }
        for name, values in self._columns.items():
            columns[name] = values[numbers].astype(np.uint64)
        for name, sparse in self._sparse.items():
            lengths, codes, counts = sparse.of(numbers)
            columns["status_codes" if name == "status" else f"{name}_buckets"] = Lists(
                lengths, codes.astype(np.uint16)
            )
            columns[f"{name}_counts"] = Lists(lengths, counts.astype(np.uint64))
        return RowBlock("outcome_windows", len(keys), columns)

    def take_samples(self, chunk: Chunk) -> list[Row]:
        """Return a row for each sampled request since the last call."""
        samples, self._samples = self._samples, []
        return [_sample_row(chunk, *sample) for sample in samples]


class _Fold:
    """Some batches as arrays: of requests, and of gaps, one row each."""

    def __init__(self, windows: OutcomeWindows, batches: Sequence[Accepted]) -> None:
        self._windows = windows
        self._batches = batches
        self._outcomes = [batch.outcomes for _, batch, _ in batches]
        self._counts = [len(outcomes.at_us) for outcomes in self._outcomes]
        self._requests = sum(self._counts)
        self._known: dict[str, _Ints] = {}

    def run(self) -> None:
        """Merge all of them into the windows."""
        gaps = [batch.gaps for _, batch, _ in self._batches]
        gap_count = _values([each.count for each in gaps])
        gap_bucket = _values([each.bucket for each in gaps])
        batch, numbers = self._numbers()
        if not len(numbers):
            return
        places, at = np.unique(numbers, return_inverse=True)
        requests, of_gaps = Grouped(at[: self._requests], len(places)), at[self._requests :]
        offsets = np.array([offset for _, _, offset in self._batches], np.int64)
        added: dict[str, _Ints] = {}
        greatest = {"version": Grouped(at, len(places)).greatest(offsets[batch])}

        ended = np.array([ENDS.index(each) for rows in self._outcomes for each in rows.ended], np.int64)
        for number, name in enumerate(ENDS):
            added[name] = requests.count(ended == number)
        added["estimated"] = requests.count(self._column("estimated") == 1)
        for name, values in self._times().items():
            added[f"{name}_count"], added[f"{name}_sum_us"] = (
                requests.count(values >= 0),
                _sum(requests, values),
            )
            if f"{name}_max_us" in GREATEST:
                greatest[f"{name}_max_us"] = requests.greatest(values)
            self._add_pairs(name, places, requests, values, buckets_of)
        for name in (*AMOUNTS, *SUMS):
            values = self._column(name)
            added[f"{name}_count"], added[f"{name}_sum"] = (
                requests.count(values >= 0),
                _sum(requests, values),
            )
            if name in AMOUNTS:
                self._add_pairs(name, places, requests, values, count_buckets_of)
        self._add_pairs("status", places, requests, self._column("status"), lambda status: status)

        first, last = self._column("first_token_us"), self._column("last_token_us")
        added["itl_sum_us"] = requests.sum(np.where((first >= 0) & (last > first), last - first, 0))
        added["itl_count"] = Grouped(of_gaps, len(places)).sum(gap_count)
        keys, where = np.unique(of_gaps * CODES + gap_bucket, return_inverse=True)
        self._windows.count(
            "itl", places[keys // CODES] * CODES + keys % CODES, Grouped(where, len(keys)).sum(gap_count)
        )
        self._windows.add(places, added, greatest)

    def _numbers(self) -> tuple[_Ints, _Ints]:
        """Return the batch and the number of the row in the windows of each request, and then of each gap.

        A batch's gaps are in the window in which it ends: it says no more of their time.
        """
        batches = np.arange(len(self._batches))
        start_us = np.array([batch.start_us for _, batch, _ in self._batches], np.int64)
        end_us = np.array([batch.end_us for _, batch, _ in self._batches], np.int64)
        last_us = np.maximum(end_us - 1, start_us)  # an event at the exact end is in the last microsecond
        gaps = [batch.gaps.slice for _, batch, _ in self._batches]
        of_requests, of_gaps = (
            np.repeat(batches, self._counts),
            np.repeat(batches, [len(each) for each in gaps]),
        )
        at_us = _values([outcomes.at_us for outcomes in self._outcomes])
        at_us = np.minimum(start_us[of_requests] + at_us, last_us[of_requests])
        batch = np.concatenate([of_requests, of_gaps])
        slices = _values([*(outcomes.slice for outcomes in self._outcomes), *gaps])
        windows = np.concatenate([at_us, last_us[of_gaps]]) // WINDOW_US
        places, at = np.unique(np.stack([batch, slices, windows]), axis=1, return_inverse=True)
        numbers = [
            self._windows.number(self._batches[index][0], window, self._batches[index][1].slices[number])
            for index, number, window in places.T.tolist()
        ]
        return batch, np.array(numbers, np.int64)[at.reshape(-1)]

    def _times(self) -> dict[str, _Ints]:
        first, last = self._column("first_token_us"), self._column("last_token_us")
        others = self._column("output_tokens") - 1
        is_known = (first >= 0) & (last >= first) & (others > 0)
        return {
            "latency": self._column("duration_us"),
            "first_byte": self._column("first_byte_us"),
            "ttft": first,
            "tpot": np.where(is_known, (last - first) // np.maximum(others, 1), UNKNOWN),
            "stall": self._column("gap_max_us"),
        }

    def _column(self, name: str) -> _Ints:
        """Return a column of all requests, made once; UNKNOWN where it has no value."""
        if name in self._known:
            return self._known[name]
        found = self._known[name] = np.full(self._requests, UNKNOWN, np.int64)
        begin = 0
        for outcomes, count in zip(self._outcomes, self._counts, strict=True):
            if values := getattr(outcomes, name):
                found[begin : begin + count] = [UNKNOWN if value is None else value for value in values]
            begin += count
        return found

    def _add_pairs(
        self, name: str, places: _Ints, requests: Grouped, values: _Ints, codes_of: Callable[[_Ints], _Ints]
    ) -> None:
        """Add the known values to a sketch, or to the statuses."""
        known = values >= 0
        keys, counts = count_pairs(places[requests.group[known]], codes_of(values[known]))
        self._windows.count(name, keys, counts)


def _sum(requests: Grouped, values: _Ints) -> _Ints:
    """Return the sums of the known values."""
    return requests.sum(np.maximum(values, 0))


def _values(lists: Sequence[list[int]]) -> _Ints:
    return concatenated(lists, sum(map(len, lists)))


_OF_SAMPLE = (
    "why", "of", "ended", "status", "duration_us", "wait_us", "first_token_us", "last_token_us", "gap_max_us", "events",
    "input_tokens", "output_tokens", "request_bytes", "response_bytes", "request_id", "trace_id",
)  # fmt: skip


def _sample_row(
    chunk: Chunk, boot: BootKey, batch: OutcomeBatch, sample: SampledRequest, number: int, offset: int
) -> Row:
    of = batch.slices[sample.slice]
    row: dict[str, object] = {
        "namespace": boot.namespace,
        "endpoint": boot.endpoint,
        "replica_id": boot.replica_id,
        "boot_id": boot.boot_id,
        "at": seconds6(batch.start_us + sample.at_us),
        "partition": chunk.partition,
        "offset": offset,
        "number": number,
        "route": of.route,
        "model": of.model,
        "caller": of.caller,
        "streamed": int(of.streamed),
    }
    return Row("request_samples", row | {name: getattr(sample, name) for name in _OF_SAMPLE})
