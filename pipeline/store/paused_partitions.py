"""The paused partitions: rows of `paused_partitions`, written by the worker and by operators."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clickhouse_connect.driver.asyncclient import AsyncClient

from endpoint_analytics.pipeline.core.rows import Row, seconds3
from endpoint_analytics.pipeline.store.connect import Client

if TYPE_CHECKING:
    from endpoint_analytics.pipeline.store.reader import Reader

FOREVER = 2**63
"""An `accept_until` beyond all offsets: until the partition is healthy again."""

READ = """
SELECT stream, partition, paused, toUnixTimestamp64Milli(since), next_offset, reason, accept_until, version
FROM paused_partitions FINAL ORDER BY stream, partition
"""

READ_PAUSED = READ.replace("ORDER BY", "WHERE paused = 1 ORDER BY")


@dataclass(frozen=True, slots=True)
class PausedPartition:
    """A partition that is or was paused; the table's column comments explain the fields."""

    stream: str
    partition: int
    paused: bool
    since_ms: int
    next_offset: int
    reason: str
    accept_until: int
    version: int

    def resumed(self, accept_until: int) -> PausedPartition:
        """Return the resumed state, which rejects unusable messages before the offset."""
        return replace(self, paused=False, accept_until=accept_until, version=newer_than(self.version))

    def __str__(self) -> str:
        return f"{self.stream}/{self.partition} is paused: {self.reason}"

    @property
    def command(self) -> str:
        """Return the command that makes the worker resume reading it."""
        return f"endpoint-analytics partitions resume {self.stream} {self.partition}"

    def row(self, changed_by: str) -> Row:
        """Return the row that replaces older versions."""
        values: dict[str, object] = {
            "stream": self.stream,
            "partition": self.partition,
            "paused": int(self.paused),
            "since": seconds3(self.since_ms),
            "next_offset": self.next_offset,
            "reason": self.reason,
            "accept_until": self.accept_until,
            "changed_at": seconds3(time.time_ns() // 1_000_000),
            "changed_by": changed_by,
            "version": self.version,
        }
        return Row("paused_partitions", values)


def newer_than(version: int) -> int:
    """Return the version of a change made now, whatever clock made the previous version."""
    return max(time.time_ns() // 1000, version + 1)


async def read_paused(client: AsyncClient) -> dict[tuple[str, int], PausedPartition]:
    """Return all rows of the table, by stream and partition."""
    return _by_partition((await client.query(READ)).result_rows)


def read_paused_now(client: Client) -> dict[tuple[str, int], PausedPartition]:
    """Return the same from a blocking client."""
    return _by_partition(client.query(READ).result_rows)


async def read_still_paused(reader: Reader) -> tuple[PausedPartition, ...]:
    """Return the partitions that are paused now; raises StoreError."""
    return tuple(_by_partition(await reader.read(READ_PAUSED, {})).values())


def _by_partition(rows: object) -> dict[tuple[str, int], PausedPartition]:
    found = {}
    for stream, partition, paused, since_ms, next_offset, reason, accept_until, version in rows:  # type: ignore[attr-defined]
        found[stream, partition] = PausedPartition(
            stream, partition, bool(paused), since_ms, next_offset, reason, accept_until, version
        )
    return found
