"""The rows that the fold produces, as ClickHouse parses them: blocks of windows and boots, and single rows.

In a single row, times are Unix seconds: integers for DateTime, decimal text for DateTime64.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
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


_BOOT_NUMBERS: tuple[tuple[str, Callable[[Boot], int]], ...] = (
    ("version", lambda boot: boot.version),
    ("next_seq", lambda boot: boot.next_seq),
    ("last_seq", lambda boot: boot.last_seq),
    ("batches", lambda boot: boot.batches),
    ("duplicates", lambda boot: boot.duplicates),
    ("missing", lambda boot: boot.missing),
    ("arrived", lambda boot: boot.arrived),
    ("finished", lambda boot: boot.finished),
    ("aborted_pending", lambda boot: boot.aborted_pending),
    ("aborted_streaming", lambda boot: boot.aborted_streaming),
    ("latency_sum_us", lambda boot: boot.latency_sum_us),
    ("ttfb_count", lambda boot: boot.ttfb_count),
    ("ttfb_sum_us", lambda boot: boot.ttfb_sum_us),
    ("pending", lambda boot: boot.pending),
    ("streaming", lambda boot: boot.streaming),
    ("oldest_pending_us", lambda boot: boot.oldest_pending_us),
    ("agent_arrived", lambda boot: boot.totals.arrived),
    ("agent_finished", lambda boot: boot.totals.finished),
    ("agent_aborted_pending", lambda boot: boot.totals.aborted_pending),
    ("agent_aborted_streaming", lambda boot: boot.totals.aborted_streaming),
    ("agent_latency_sum_us", lambda boot: boot.totals.duration_us),
    ("agent_ttfb_sum_us", lambda boot: boot.totals.wait_us),
    ("conflicts", lambda boot: boot.conflicts),
    ("begin_seq", lambda boot: boot.begin_seq),
)


def boot_block(table: str, chunk: Chunk, boots: Sequence[Boot]) -> RowBlock:
    """Return the rows of `boots` or `boot_states` for the boots."""
    count = len(boots)
    columns = identity([boot.key for boot in boots])
    columns["stream"] = [chunk.stream] * count
    columns |= origin(chunk, count)
    columns["chunk_time"] = Times(np.full(count, chunk.first.append_ms // 1000, np.int64), 0)
    for name, read in _BOOT_NUMBERS:
        columns[name] = np.fromiter(map(read, boots), np.uint64, count)
    columns["stepped_back"] = np.fromiter((boot.stepped_back for boot in boots), np.uint8, count)
    columns["copies"] = np.fromiter((boot.copies for boot in boots), np.uint8, count)
    columns["first_at"] = Times(np.fromiter((boot.first_us for boot in boots), np.int64, count), 6)
    columns["last_at"] = Times(np.fromiter((boot.last_us for boot in boots), np.int64, count), 6)
    columns["last_append"] = Times(np.fromiter((boot.last_append_ms for boot in boots), np.int64, count), 3)
    columns["gap_starts"] = _numbers([[start for start, _ in boot.gaps] for boot in boots])
    columns["gap_ends"] = _numbers([[end for _, end in boot.gaps] for boot in boots])
    columns["recent_ends"] = _numbers([boot.recent_ends for boot in boots])
    columns["status_codes"] = _numbers([boot.status for boot in boots], "u2")
    columns["status_counts"] = _numbers([boot.status.values() for boot in boots])
    columns["agent_status_codes"] = _numbers([map(int, boot.totals.status) for boot in boots], "u2")
    columns["agent_status_counts"] = _numbers([boot.totals.status.values() for boot in boots])
    columns["dropped_reasons"] = _texts([boot.totals.dropped for boot in boots])
    columns["dropped_counts"] = _numbers([boot.totals.dropped.values() for boot in boots])
    columns["dropped_batch_reasons"] = _texts([boot.totals.dropped_batches for boot in boots])
    columns["dropped_batch_counts"] = _numbers([boot.totals.dropped_batches.values() for boot in boots])
    columns["copy_of"] = [boot.copy_of for boot in boots]
    columns["inherited"] = [_json(boot.inherited) for boot in boots]
    return RowBlock(table, count, columns)


def _numbers(lists: Sequence[Iterable[int]], kind: str = "u8") -> Lists:
    lengths, elements = [], list[int]()
    for each in lists:
        before = len(elements)
        elements += each
        lengths.append(len(elements) - before)
    return Lists(np.array(lengths, np.int64), np.array(elements, kind))


def _texts(lists: Sequence[Iterable[str]]) -> Lists:
    texts = [list(each) for each in lists]
    return Lists(np.array([len(each) for each in texts], np.int64), [text for each in texts for text in each])


_NONE = Totals()


def _json(totals: Totals) -> str:
    """Return totals as JSON, or "" if they are all zero."""
    if totals is _NONE or totals == _NONE:
        return ""
    return json.dumps({name: getattr(totals, name) for name in totals.__struct_fields__})
