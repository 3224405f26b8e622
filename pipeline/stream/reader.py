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

from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.core.boots import Boot, BootKey
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.folders import Folder
from endpoint_analytics.pipeline.core.partition import Bounds, PartitionFold, Rejection
from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.store.boot_states import read_boots
from endpoint_analytics.pipeline.store.chunks import read_stored_through
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.writer import FIRST_WAIT_S, LONGEST_WAIT_S, RowWriter
from endpoint_analytics.pipeline.stream.rejections import RejectionLimit

Message = TypeVar("Message")
Value = TypeVar("Value")
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
    read_through: int
    """The newest offset that was read, or is of a chunk that was stored and whose beginning is gone."""
    unacknowledged: list[Callable[[], None]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    """Rows that were taken and are not stored yet."""
    rejected: list[Rejection] = field(default_factory=list)
    """Rejections that were taken and are not sent yet."""


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
        max_rejected_share: float = 1.0,
    ) -> None:
        self._topic = topic
        self._make_folder = make_folder
        self.stream = make_folder().stream
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
        self._limit = RejectionLimit(topic, max_rejected_share)
        self.messages = self.events = self.rejected = 0

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
        reading = await self._reading(partition, delivered[0])
        fold = reading.fold
        # What was read already is acknowledged with its chunk, and not folded again.
        reading.unacknowledged.extend(
            delivery.acknowledge for delivery in delivered if delivery.record.offset <= reading.read_through
        )
        new = {d.record.offset: d for d in delivered if d.record.offset > reading.read_through}
        for begins, records in fold.runs([delivery.record for delivery in new.values()]):
            if begins:
                await self._close_chunk(partition, reading)
                fold.open(records[0])
            decoded = fold.decode(records)
            if unknown := fold.unknown(decoded):
                fold.restore(await self._boots(partition, fold.chunk, unknown))
            events, rejected = fold.fold(records, decoded)
            reading.read_through = records[-1].offset
            self.messages += len(records)
            self.events += events
            self.rejected += rejected
            reading.unacknowledged.extend(new[record.offset].acknowledge for record in records)
            self._dirty.add(partition)
            self._limit.count(len(records), rejected)

    async def _reading(self, partition: int, first: Delivery) -> _Reading[Message]:
        reading = self._readings.get(partition)
        if reading is None or reading.generation != first.generation:
            self._forget_other_generations(first.generation)
            fold = PartitionFold(self._make_folder(), self._topic, partition, self._rule, self._bounds)
            stored = await self._patiently(
                lambda client: read_stored_through(client, self.stream, partition, first.record, self._rule)
            )
            reading = self._readings[partition] = _Reading(
                first.generation, fold, -1 if stored is None else stored
            )
        return reading

    def _forget_other_generations(self, generation: int) -> None:
        """What was read in them and not acknowledged is read again, by its new owner."""
        self._readings = {p: r for p, r in self._readings.items() if r.generation == generation}
        self._dirty &= self._readings.keys()

    async def _close_chunk(self, partition: int, reading: _Reading[Message]) -> None:
        """Store the open chunk's rows and acknowledge its messages, in order."""
        if not reading.unacknowledged:
            return
        if reading.fold.is_open:
            await self._store({partition: reading})
        if reading.generation == self._generation():
            for acknowledge in reading.unacknowledged:
                acknowledge()
        reading.unacknowledged = []

    async def _flush_if_due(self) -> None:
        if self._dirty and time.monotonic() - self._flushed_at >= self._flush_s:
            readings = {partition: self._readings[partition] for partition in self._dirty}
            await self._store(readings)
            self._dirty.clear()
            self._flushed_at = time.monotonic()

    async def _store(self, readings: dict[int, _Reading[Message]]) -> None:
        """Store what changed. When this is cancelled, what was taken stays to be stored the next time."""
        for partition, reading in readings.items():
            rejected, rejected_rows = reading.fold.take_rejected()
            reading.rejected += rejected
            reading.rows += reading.fold.take_rows() + rejected_rows
            if reading.rejected:
                await self._send_rejected(self._topic, partition, reading.rejected)
                reading.rejected = []
        await self._writer.write([row for reading in readings.values() for row in reading.rows])
        for reading in readings.values():
            reading.rows = []

    async def _boots(self, partition: int, chunk: int, unknown: set[BootKey]) -> list[Boot]:
        return await self._patiently(
            lambda client: read_boots(client, self.stream, partition, chunk, unknown)
        )

    async def _patiently(self, read: Callable[[AsyncClient], Awaitable[Value]]) -> Value:
        """Read from ClickHouse, waiting out an outage."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                return await read(await self._writer.client())
            except (StoreError, ClickHouseError, OSError) as error:
                log.warning("ClickHouse cannot be read yet, next try in %.1f s: %s", wait_s, error)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
