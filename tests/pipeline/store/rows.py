"""Rows as the worker stores them: absolute, with a version, in several chunks; and a function to insert them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from endpoint_analytics.pipeline.store.connect import Client


def text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def boot(
    now: datetime,
    *,
    replica: str = "r1",
    boot_id: str = "b1",
    stream: str = "requests",
    namespace: str = "acme",
    endpoint: str = "llm",
    age_s: float = 1.0,
    version: int = 1,
    chunk: int = 0,
    partition: int = 0,
    status: dict[int, int] | None = None,
    dropped: dict[str, int] | None = None,
    **columns: int,
) -> dict[str, object]:
    at = now - timedelta(seconds=age_s)
    statuses = status or {}
    drops = dropped or {}
    return {
        "stream": stream,
        "namespace": namespace,
        "endpoint": endpoint,
        "replica_id": replica,
        "boot_id": boot_id,
        "partition": partition,
        "chunk": chunk,
        "version": version,
        "chunk_time": int(at.timestamp()),
        "first_at": text(at - timedelta(seconds=60)),
        "last_at": text(at),
        "last_append": text(at)[:-3],
        "status_codes": list(statuses),
        "status_counts": list(statuses.values()),
        "dropped_reasons": list(drops),
        "dropped_counts": list(drops.values()),
        **columns,
    }


def window(
    now: datetime,
    *,
    replica: str = "r1",
    boot_id: str = "b1",
    age_s: float = 20.0,
    version: int = 1,
    chunk: int = 0,
    latency: dict[int, int] | None = None,
    ttfb: dict[int, int] | None = None,
    namespace: str = "acme",
    endpoint: str = "llm",
    **columns: object,
) -> dict[str, object]:
    start = int((now - timedelta(seconds=age_s)).timestamp()) // 10 * 10
    return {
        "namespace": namespace,
        "endpoint": endpoint,
        "replica_id": replica,
        "boot_id": boot_id,
        "window_start": start,
        "partition": 0,
        "chunk": chunk,
        "version": version,
        "latency_buckets": list(latency or {}),
        "latency_counts": list((latency or {}).values()),
        "ttfb_buckets": list(ttfb or {}),
        "ttfb_counts": list((ttfb or {}).values()),
        **columns,
    }


def hardware(
    now: datetime,
    metric: str,
    value: float,
    *,
    replica: str = "r1",
    device: str = "",
    age_s: float = 1.0,
    version: int = 1,
    chunk: int = 0,
    boot_id: str = "b1",
    namespace: str = "acme",
    endpoint: str = "llm",
) -> dict[str, object]:
    at = now - timedelta(seconds=age_s)
    return {
        "namespace": namespace,
        "endpoint": endpoint,
        "replica_id": replica,
        "boot_id": boot_id,
        "device": device,
        "metric": metric,
        "window_start": int(at.timestamp()) // 10 * 10,
        "partition": 0,
        "chunk": chunk,
        "version": version,
        "samples": 2,
        "sum": value * 2,
        "min": value - 1,
        "max": value + 1,
        "last": value,
        "last_at": text(at),
    }


def event(
    now: datetime,
    state: str,
    *,
    replica: str = "r1",
    age_s: float = 1.0,
    offset: int = 0,
    namespace: str = "acme",
    endpoint: str = "llm",
    partition: int = 0,
) -> dict[str, object]:
    return {
        "namespace": namespace,
        "endpoint": endpoint,
        "replica_id": replica,
        "at": text(now - timedelta(seconds=age_s)),
        "state": state,
        "reason": "",
        "partition": partition,
        "offset": offset,
    }


def setting(
    now: datetime, least: int, most: int, *, age_s: float = 60.0, offset: int = 0, endpoint: str = "llm"
) -> dict[str, object]:
    return {
        "namespace": "acme",
        "endpoint": endpoint,
        "at": text(now - timedelta(seconds=age_s)),
        "min_replicas": least,
        "max_replicas": most,
        "partition": 0,
        "offset": offset,
    }


STREAMS = ("requests", "hardware", "engine", "replicas")


def progress(
    read_to: datetime,
    steady_since: datetime | None = None,
    partition: int = 0,
    streams: Iterable[str] = STREAMS,
    stopped_at: datetime | None = None,
) -> list[dict[str, object]]:
    """Progress rows of one partition per topic, as its worker reports them; by default, read steadily for days."""
    return [
        {
            "stream": stream,
            "partition": partition,
            "read_to": text(read_to)[:-3],
            "steady_since": text(steady_since or read_to - timedelta(days=9))[:-3],
            "stopped_at": text(stopped_at or datetime(1970, 1, 1, tzinfo=UTC))[:-3],
            "next_offset": 0,
            "end_offset": 0,
        }
        for stream in streams
    ]


def all_known(client: Client, partitions: int = 8) -> None:
    """Report that the pipeline keeps up for the next hour."""
    read_to = datetime.now(UTC) + timedelta(hours=1)
    insert(
        client,
        "partition_progress",
        [row for each in range(partitions) for row in progress(read_to, partition=each)],
    )


def insert(client: Client, table: str, rows: Iterable[dict[str, object]]) -> None:
    """Insert as the worker does: JSON rows over HTTP."""
    block = "\n".join(json.dumps(row) for row in rows)
    client.raw_insert(table, insert_block=block.encode(), fmt="JSONEachRow")
