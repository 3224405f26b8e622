"""The rows that the fold produces, as ClickHouse parses them: blocks of windows and boots, and single rows.

In a single row, times are Unix seconds: integers for DateTime, decimal text for DateTime64.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from endpoint_analytics.pipeline.core.batches import WINDOW_US
from endpoint_analytics.pipeline.core.boots import Boot, BootKey
from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.core.row_block import Column, Lists, RowBlock, Times
from endpoint_analytics.pipeline.core.windows import Windows
from endpoint_analytics.schemas.requests import Totals


class Row(NamedTuple):
    """One row of `table`."""

    table: str
    values: dict[str, object]


Rows = Sequence[Row | RowBlock]


class Chunk(NamedTuple):
    """The origin of rows in the Kafka log: stream (the topic's suffix), partition, first record of the chunk."""

    stream: str
    partition: int
    first: Record


def seconds6(time_us: int) -> str:
    """Return microseconds as decimal seconds, with the ten integer digits that ClickHouse requires."""
    return f"{time_us // 1_000_000:010d}.{time_us % 1_000_000:06d}"


def seconds3(time_ms: int) -> str:
    """Return milliseconds as decimal seconds, like `seconds6`."""
    return f"{time_ms // 1000:010d}.{time_ms % 1000:03d}"


def identity(keys: Sequence[BootKey]) -> dict[str, Column]:
    """Return the columns that identify boots."""
    return {
        "namespace": [key.namespace for key in keys],
        "endpoint": [key.endpoint for key in keys],
        "replica_id": [key.replica_id for key in keys],
        "boot_id": [key.boot_id for key in keys],
    }


def origin(chunk: Chunk, count: int) -> dict[str, Column]:
    """Return the columns that say which partition and chunk rows are of."""
    return {
        "partition": np.full(count, chunk.partition, np.uint32),
        "chunk": np.full(count, chunk.first.offset, np.uint64),
    }


def window_starts(windows: Sequence[int]) -> Times:
    """Return the starts of the windows with these numbers."""
    return Times(np.array(windows, np.int64) * (WINDOW_US // 1_000_000), 0)


def window_block(chunk: Chunk, windows: Windows) -> RowBlock | None:
    """Return the rows of `request_windows` that changed since the last call."""
    numbers = windows.take_dirty()
    if not len(numbers):
        return None
    keys = [windows.keys[number] for number in numbers.tolist()]
    columns = identity([key for key, _ in keys])
    columns["window_start"] = window_starts([window for _, window in keys])
    columns |= origin(chunk, len(keys))
    for name, values in windows.values(numbers).items():
        columns[name] = values.astype(np.uint32 if name.startswith("covered_") else np.uint64)
    for name, sparse in windows.sparse.items():
        lengths, codes, counts = sparse.of(numbers)
        columns["status_codes" if name == "status" else f"{name}_buckets"] = Lists(
            lengths, codes.astype(np.uint16)
        )
        columns[f"{name}_counts"] = Lists(lengths, counts.astype(np.uint64))
    return RowBlock("request_windows", len(keys), columns)


_BOOT_NUMBERS = {
    name: attrgetter(name)
    for name in (
        "version", "next_seq", "last_seq", "batches", "duplicates", "missing", "arrived", "finished", "aborted_pending",
        "aborted_streaming", "latency_sum_us", "ttfb_count", "ttfb_sum_us", "pending", "streaming", "oldest_pending_us",
        "conflicts", "begin_seq",
    )
}  # fmt: skip
_TOTALS = {
    f"agent_{name}": attrgetter(field)
    for name, field in (
        ("arrived", "arrived"),
        ("finished", "finished"),
        ("aborted_pending", "aborted_pending"),
        ("aborted_streaming", "aborted_streaming"),
        ("latency_sum_us", "duration_us"),
        ("ttfb_sum_us", "wait_us"),
    )
}


def boot_block(table: str, chunk: Chunk, boots: Sequence[Boot]) -> RowBlock:
    """Return the rows of `boots` or `boot_states` for the boots."""
    count = len(boots)
    columns = identity([boot.key for boot in boots])
    columns["stream"] = [chunk.stream] * count
    columns |= origin(chunk, count)
    columns["chunk_time"] = Times(np.full(count, chunk.first.append_ms // 1000, np.int64), 0)
    for name, read in _BOOT_NUMBERS.items():
        columns[name] = np.fromiter(map(read, boots), np.uint64, count)
    totals = [boot.totals for boot in boots]
    for name, read in _TOTALS.items():
        columns[name] = np.fromiter(map(read, totals), np.uint64, count)
    columns["stepped_back"] = np.fromiter((boot.stepped_back for boot in boots), np.uint8, count)
    columns["copies"] = np.fromiter((boot.copies for boot in boots), np.uint8, count)
    columns["first_at"] = Times(np.fromiter((boot.first_us for boot in boots), np.int64, count), 6)
    columns["last_at"] = Times(np.fromiter((boot.last_us for boot in boots), np.int64, count), 6)
    columns["last_append"] = Times(np.fromiter((boot.last_append_ms for boot in boots), np.int64, count), 3)
    gaps = [boot.gaps for boot in boots]
    columns["gap_starts"] = _numbers([[start for start, _ in each] for each in gaps])
    columns["gap_ends"] = _numbers([[end for _, end in each] for each in gaps])
    columns["recent_ends"] = _numbers([boot.recent_ends for boot in boots])
    columns["status_codes"] = _numbers([boot.status for boot in boots], "u2")
    columns["status_counts"] = _numbers([boot.status.values() for boot in boots])
    columns["agent_status_codes"] = _numbers([[int(code) for code in each.status] for each in totals], "u2")
    columns["agent_status_counts"] = _numbers([each.status.values() for each in totals])
    columns["dropped_reasons"] = _texts([each.dropped for each in totals])
    columns["dropped_counts"] = _numbers([each.dropped.values() for each in totals])
    columns["dropped_batch_reasons"] = _texts([each.dropped_batches for each in totals])
    columns["dropped_batch_counts"] = _numbers([each.dropped_batches.values() for each in totals])
    columns["copy_of"] = [boot.copy_of for boot in boots]
    columns["inherited"] = [_json(boot.inherited) for boot in boots]
    return RowBlock(table, count, columns)


def _numbers(lists: Sequence[Collection[int]], kind: str = "u8") -> Lists:
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    return Lists(lengths, np.fromiter(chain.from_iterable(lists), kind, int(lengths.sum())))


def _texts(lists: Sequence[Collection[str]]) -> Lists:
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    return Lists(lengths, list(chain.from_iterable(lists)))


_NONE = Totals()


def _json(totals: Totals) -> str:
    """Return totals as JSON, or "" if they are all zero."""
    if totals is _NONE or totals == _NONE:
        return ""
    return json.dumps({name: getattr(totals, name) for name in totals.__struct_fields__})
