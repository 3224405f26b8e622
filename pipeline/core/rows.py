"""The rows that the fold produces: the table's name and the values by column, as ClickHouse parses them.

Times are Unix seconds: integers for DateTime, decimal text for DateTime64.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from endpoint_analytics.pipeline.core.batches import WINDOW_US
from endpoint_analytics.pipeline.core.boots import Boot, BootKey
from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.core.windows import Windows
from endpoint_analytics.schemas.requests import Totals


class Row(NamedTuple):
    """One row of `table`."""

    table: str
    values: dict[str, object]


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


def identity(key: BootKey) -> dict[str, object]:
    """Return the columns that identify a boot."""
    return {
        "namespace": key.namespace,
        "endpoint": key.endpoint,
        "replica_id": key.replica_id,
        "boot_id": key.boot_id,
    }


def window_start_s(window: int) -> int:
    """Return the start of the window with this number, in Unix seconds."""
    return window * (WINDOW_US // 1_000_000)


def window_rows(chunk: Chunk, windows: Windows) -> list[Row]:
    """Return the rows of `request_windows` that changed since the last call."""
    numbers = windows.take_dirty()
    values = windows.values(numbers)
    names = list(values)
    rows = []
    for number, row_values in zip(numbers, zip(*values.values(), strict=True), strict=True):
        key, window = windows.keys[number]
        row = identity(key)
        row |= {
            "window_start": window_start_s(window),
            "partition": chunk.partition,
            "chunk": chunk.first.offset,
        }
        row |= zip(names, row_values, strict=True)
        row["status_codes"], row["status_counts"] = windows.status.row(number)
        row["latency_buckets"], row["latency_counts"] = windows.latency.row(number)
        row["ttfb_buckets"], row["ttfb_counts"] = windows.ttfb.row(number)
        rows.append(Row("request_windows", row))
    return rows


def boot_row(chunk: Chunk, boot: Boot) -> Row:
    """Return the row of `boot_states` for the boot."""
    totals = boot.totals
    row = identity(boot.key)
    row |= {
        "stream": chunk.stream,
        "partition": chunk.partition,
        "chunk": chunk.first.offset,
        "version": boot.version,
        "chunk_time": chunk.first.append_ms // 1000,
        "next_seq": boot.next_seq,
        "last_seq": boot.last_seq,
        "gap_starts": [start for start, _ in boot.gaps],
        "gap_ends": [end for _, end in boot.gaps],
        "batches": boot.batches,
        "duplicates": boot.duplicates,
        "missing": boot.missing,
        "first_at": seconds6(boot.first_us),
        "last_at": seconds6(boot.last_us),
        "last_append": seconds3(boot.last_append_ms),
        "arrived": boot.arrived,
        "finished": boot.finished,
        "aborted_pending": boot.aborted_pending,
        "aborted_streaming": boot.aborted_streaming,
        "status_codes": list(boot.status),
        "status_counts": list(boot.status.values()),
        "latency_sum_us": boot.latency_sum_us,
        "ttfb_count": boot.ttfb_count,
        "ttfb_sum_us": boot.ttfb_sum_us,
        "pending": boot.pending,
        "streaming": boot.streaming,
        "oldest_pending_us": boot.oldest_pending_us,
        "agent_arrived": totals.arrived,
        "agent_finished": totals.finished,
        "agent_aborted_pending": totals.aborted_pending,
        "agent_aborted_streaming": totals.aborted_streaming,
        "agent_status_codes": [int(status) for status in totals.status],
        "agent_status_counts": list(totals.status.values()),
        "agent_latency_sum_us": totals.duration_us,
        "agent_ttfb_sum_us": totals.wait_us,
        "dropped_reasons": list(totals.dropped),
        "dropped_counts": list(totals.dropped.values()),
        "dropped_batch_reasons": list(totals.dropped_batches),
        "dropped_batch_counts": list(totals.dropped_batches.values()),
        "recent_ends": boot.recent_ends,
        "stepped_back": int(boot.stepped_back),
        "copies": boot.copies,
        "conflicts": boot.conflicts,
        "copy_of": boot.copy_of,
        "begin_seq": boot.begin_seq,
        "inherited": _json(boot.inherited),
    }
    return Row("boot_states", row)


def _json(totals: Totals) -> str:
    """Return totals as JSON, or "" if they are all zero."""
    if totals == Totals():
        return ""
    return json.dumps({name: getattr(totals, name) for name in totals.__struct_fields__})
