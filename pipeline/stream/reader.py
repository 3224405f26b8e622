"""One stream's shell: what Faust read goes through the fold into ClickHouse, and is acknowledged then.

Messages are acknowledged chunk by chunk, in order, after the chunk's rows are stored: what is committed is
always the start of a chunk, and what is read again after a crash gives the same rows again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.core.boots import Boot, BootKey
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.folders import Folder
from endpoint_analytics.pipeline.core.partition import Bounds, PartitionFold, Rejection
from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.store.boot_states import read_boots
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.writer import RowWriter

Message = TypeVar("Message")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as Faust delivered it: `acknowledge` lets its offset be committed."""

    partition: int
    generation: int
    record: Record
    acknowledge: Callable[[], None]


@dataclass(slots=True)
class _Reading(Generic[Message]):
    """A partition as read in one generation of the consumer group: begins at a committed offset."""

    generation: int
    fold: PartitionFold[Message]
    unacknowledged: list[Callable[[], None]] = field(default_factory=list)


class StreamReader(Generic[Message]):
    """Reads one topic. `generation` returns the group's current generation: each rebalance begins a new one."""

    def __init__(
        self,
        topic: str,
        make_folder: Callable[[], Folder[Message]],
        writer: RowWriter,
        generation: Callable[[], int],
        send_rejected: Callable[[str, int, Sequence[Rejection]], Awaitable[None]],
        rule: ChunkRule,
        bounds: Bounds,
        flush_s: float,
    ) -> None:
        self._topic = topic
        self._make_folder = make_folder
        self._stream = make_folder().stream
        self._writer = writer
        self._generation = generation
        self._send_rejected = send_rejected
        self._rule = rule
        self._bounds = bounds
        self._flush_s = flush_s
        self._readings: dict[int, _Reading[Message]] = {}
        self._lock = asyncio.Lock()
        self._flushed_at = time.monotonic()
        self._dirty: set[int] = set()
        self.events = 0

    async def read(self, deliveries: Sequence[Delivery]) -> None:
        """Fold the deliveries, and store what is due."""
        partitions: dict[int, list[Delivery]] = {}
        for delivery in deliveries:
            # What was fetched before a rebalance belongs to nobody: it is read again by its new owner.
            if delivery.generation == self._generation():
                partitions.setdefault(delivery.partition, []).append(delivery)
        async with self._lock:
            for partition, delivered in partitions.items():
                await self._read_partition(partition, delivered)
            await self._flush_if_due()

    async def flush_when_due(self) -> None:
        """Store what has waited long enough; for a timer, since reading may pause."""
        async with self._lock:
            await self._flush_if_due()

    async def _read_partition(self, partition: int, delivered: Sequence[Delivery]) -> None:
        reading = self._reading(partition, delivered[0].generation)
        fold = reading.fold
        by_offset = {delivery.record.offset: delivery for delivery in delivered}
        for begins, records in fold.runs([delivery.record for delivery in delivered]):
            if begins:
                await self._close_chunk(partition, reading)
                fold.open(records[0])
            decoded = fold.decode(records)
            if unknown := fold.unknown(decoded):
                fold.restore(await self._boots(partition, fold.chunk, unknown))
            self.events += fold.fold(records, decoded)
            reading.unacknowledged.extend(by_offset[record.offset].acknowledge for record in records)
            self._dirty.add(partition)

    def _reading(self, partition: int, generation: int) -> _Reading[Message]:
        reading = self._readings.get(partition)
        if reading is None or reading.generation != generation:
            fold = PartitionFold(self._make_folder(), self._topic, partition, self._rule, self._bounds)
            reading = self._readings[partition] = _Reading(generation, fold)
        return reading

    async def _close_chunk(self, partition: int, reading: _Reading[Message]) -> None:
        """Store the open chunk's rows and acknowledge its messages, in order."""
        if not reading.unacknowledged:
            return
        await self._store({partition: reading})
        if reading.generation == self._generation():
            for acknowledge in reading.unacknowledged:
                acknowledge()
        reading.unacknowledged = []

    async def _flush_if_due(self) -> None:
        if self._dirty and time.monotonic() - self._flushed_at >= self._flush_s:
            readings = {partition: self._readings[partition] for partition in self._dirty}
            self._dirty.clear()
            await self._store(readings)
            self._flushed_at = time.monotonic()

    async def _store(self, readings: dict[int, _Reading[Message]]) -> None:
        rows: list[Row] = []
        for partition, reading in readings.items():
            rejected, rejected_rows = reading.fold.take_rejected()
            if rejected:
                await self._send_rejected(self._topic, partition, rejected)
            rows += reading.fold.take_rows() + rejected_rows
        await self._writer.write(rows)

    async def _boots(self, partition: int, chunk: int, unknown: set[BootKey]) -> list[Boot]:
        wait_s = 0.1
        while True:
            try:
                client = await self._writer.client()
                return await read_boots(client, self._stream, partition, chunk, unknown)
            except (StoreError, ClickHouseError, OSError) as error:
                log.warning("states of boots cannot be read yet, next try in %.1f s: %s", wait_s, error)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 5.0)
