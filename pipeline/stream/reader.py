"""One stream's shell: what Faust read goes through the fold into ClickHouse, and is acknowledged then.

Messages are acknowledged chunk by chunk, in order, after the chunk's rows are stored: what is committed is
the start of a chunk, and what is read again after a crash gives the same rows again. Where nothing comes for longer
than a chunk, what is stored is acknowledged too; should the next message belong to that chunk all the same, whoever
begins at it reads the chunk again from its start.

What Faust delivers is not believed to be all: an offset that is missing, and that the log does not leave out, would
be lost for ever once what lies behind it is acknowledged. So a partition whose deliveries lack one, or begin elsewhere
than the group does, or end before the log does, is fetched again from there, and what comes from behind it is left
alone until then. The others go on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from aiokafka.errors import KafkaError
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.core.boots import Boot, BootKey
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.holes import Holes
from endpoint_analytics.pipeline.core.partition import Bounds, PartitionFold, Rejection
from endpoint_analytics.pipeline.core.stream_folds import StreamFold
from endpoint_analytics.pipeline.store.boot_states import read_boots
from endpoint_analytics.pipeline.store.chunks import read_chunk_of
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.paused_partitions import (
    FOR_EVER,
    PausedPartition,
    read_paused,
)
from endpoint_analytics.pipeline.store.writer import FIRST_WAIT_S, LONGEST_WAIT_S, RowWriter
from endpoint_analytics.pipeline.stream.group import Group
from endpoint_analytics.pipeline.stream.log_reader import LogReader
from endpoint_analytics.pipeline.stream.pauses import Pauses
from endpoint_analytics.pipeline.stream.progress import Stored
from endpoint_analytics.pipeline.stream.reading import Delivery, LogSpan, Reading
from endpoint_analytics.pipeline.stream.record_batches import Hole, UnreadableBatch
from endpoint_analytics.pipeline.stream.rejections import RejectionLimit
from endpoint_analytics.schemas.errors import InvalidMessageError

Message = TypeVar("Message")
Value = TypeVar("Value")
log = logging.getLogger(__name__)

IDLE_MARGIN_S = 2.0
"""A chunk ends for want of messages when none came for its length and this: the clocks' and the network's share."""

MAX_REPORTS = 500
"""Reports of holes and of what cannot be read that wait to be taken up; the consumer waits with more."""

MISSED_AFTER_S = 10.0
"""What is in the log, and has not come for so long, is fetched again."""

ANSWER_WITHIN_S = 5.0
"""So long all partitions wait for a broker's word about one; after that this one waits by itself."""


class StreamReader(Generic[Message]):
    """Reads one topic, as a member of `group`; `log_reader` reads the log beside it."""

    def __init__(
        self,
        topic: str,
        make_directory: Callable[[], StreamFold[Message]],
        writer: RowWriter,
        group: Group,
        send_rejected: Callable[[str, int, Sequence[Rejection]], Awaitable[None]],
        rule: ChunkRule,
        bounds: Bounds,
        flush_s: float,
        log_reader: LogReader,
        max_rejected_share: float = 1.0,
    ) -> None:
        self.topic = topic
        self._make_directory = make_directory
        self.stream = make_directory().stream
        self._writer = writer
        self._group = group
        self._send_rejected = send_rejected
        self._rule = rule
        self._bounds = bounds
        self._flush_s = flush_s
        self._log_reader = log_reader
        self._max_rejected_share = max_rejected_share
        self._readings: dict[int, Reading[Message]] = {}
        self._lock = asyncio.Lock()
        self._flushed_at = time.monotonic()
        self._dirty: set[int] = set()
        self._reports: deque[tuple[int, Sequence[UnreadableBatch], Sequence[Hole]]] = deque()
        self._unreadable: list[tuple[int, UnreadableBatch]] = []
        self._holes: dict[int, Holes] = {}
        self._logs: Mapping[int, LogSpan] = {}
        self._logs_are_new = False
        self._waiting: dict[int, tuple[tuple[int, int], float]] = {}
        """By partition: where it has waited for deliveries (generation and offset), and since when."""
        self._limits: dict[int, RejectionLimit] = {}
        self._taken: set[int] = set()
        """Partitions of which `read` has messages in its hands."""
        self.pauses = Pauses(
            self.stream, topic, writer, log_reader, self._fold(0).is_usable, max_rejected_share
        )
        self.stored: dict[int, Stored] = {}
        """By partition that is being read: how far it is stored."""
        self.messages = self.events = self.rejected = self.unreadable_batches = 0
        self.failure = ""
        """Why ClickHouse cannot be read at the newest try; empty when it can."""

    async def read(self, deliveries: Sequence[Delivery]) -> None:
        """Fold the deliveries, and store what is due."""
        self._taken = {delivery.partition for delivery in deliveries}
        try:
            await self._read(deliveries)
        finally:
            self._taken = set()

    async def _read(self, deliveries: Sequence[Delivery]) -> None:
        async with self._lock:
            await self._take_reports()
            partitions: dict[int, list[Delivery]] = {}
            for delivery in deliveries:
                # What was fetched before a rebalance belongs to nobody: it is read again by its new owner.
                if delivery.generation == self._group.generation():
                    partitions.setdefault(delivery.partition, []).append(delivery)
            # Side by side, so that one that waits for what is remembered of many new names keeps none waiting.
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._read_partition(*item)) for item in partitions.items()]
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from failed
            if any(task.cancelled() for task in tasks):  # a group says nothing of that
                raise RuntimeError(f"reading {self.topic} was cancelled: what was taken is to be read again")
            await self._flush_if_due()

    async def flush_when_due(self) -> None:
        """Store what has waited long enough, and end what is idle; for a timer, since reading may pause."""
        async with self._lock:
            await self._flush_if_due()
            await self._take_reports()
            self._acknowledge_idle()
            if self._logs_are_new:
                self._logs_are_new = False
                await self._fetch_what_is_missed()

    async def resume_what_is_well(self) -> None:
        """Read again the paused partitions that are well, or are told to go on; looking keeps no other waiting."""
        for state in await self.pauses.look(lambda: self._patiently(read_paused)):
            async with self._lock:
                if self.pauses.end(state):
                    await self._go_on(state)

    def report(self, partition: int, unreadable: Sequence[UnreadableBatch], holes: Sequence[Hole]) -> bool:
        """Take up what the log does not hold, or what cannot be read, before anything behind it; any thread may call.

        Returns False where there is no room: then it is to be told again.
        """
        if len(self._reports) >= MAX_REPORTS:
            return False
        self._reports.append((partition, unreadable, holes))
        return True

    def saw_logs(self, logs: Mapping[int, LogSpan]) -> None:
        """Take up what the logs of our partitions hold, as far as their leaders say it."""
        self._logs, self._logs_are_new = logs, True
        for partition, span in logs.items():
            if holes := self._holes.get(partition):
                reading = self._current(partition)
                holes.forget_before(span.next_offset if reading is None else reading.next_offset)
        # A pause of what went to another worker is that one's to tell.
        self.pauses.keep({p for p in self._readings if p in logs or self._current(p) is not None})

    def stored_of(self, partition: int, committed: int | None) -> Stored:
        """Return how far a partition is stored; if nothing has come yet, to where reading begins."""
        span = self._logs.get(partition)
        begin = max(committed or 0, span.start if span is not None else 0)
        stored = self.stored.get(partition) or Stored(begin, None)
        holes = self._holes.get(partition)
        return stored._replace(next_offset=holes.past(stored.next_offset)) if holes else stored

    async def _read_partition(self, partition: int, delivered: Sequence[Delivery]) -> None:
        reading = await self._reading(partition, delivered[0].generation, delivered[0].record.offset)
        if reading is None:
            return  # nobody says where to begin: it is asked again
        if partition in self.pauses:
            self._group.pause(self.topic, partition)  # all of it comes again when it goes on
            return
        by_offset = {d.record.offset: d for d in delivered if d.record.offset > reading.read_through}
        whole = self._without_gap(partition, reading, [by_offset[offset] for offset in sorted(by_offset)])
        if whole and not reading.placed:
            await self._place(partition, reading, whole[0].record)
            whole = self._without_gap(partition, reading, whole)
        if whole and reading.placed:
            await self._fold_deliveries(partition, reading, whole)
        if partition not in self.pauses and max(by_offset, default=-1) > reading.read_through:
            await self._fetch_again(partition, reading)

    def _without_gap(
        self, partition: int, reading: Reading[Message], delivered: Sequence[Delivery]
    ) -> Sequence[Delivery]:
        """Return what follows on what was read, up to the first offset that is missing and is in the log."""
        delivered = [delivery for delivery in delivered if delivery.record.offset > reading.read_through]
        if not delivered or delivered[-1].record.offset - reading.read_through == len(delivered):
            return delivered
        holes, next_offset = self._holes.get(partition) or Holes(), reading.next_offset
        for index, delivery in enumerate(delivered):
            if delivery.record.offset > holes.past(next_offset):
                return delivered[:index]
            next_offset = delivery.record.offset + 1
        return delivered

    async def _fetch_again(self, partition: int, reading: Reading[Message]) -> None:
        """Have the partition fetched from what was read on: what comes next of it is not what was delivered."""
        offset, now = reading.next_offset, time.monotonic()
        if self._current(partition) is not reading or (
            reading.sought == offset and now - reading.sought_at < MISSED_AFTER_S
        ):
            return  # it is on its way, or another's
        reading.sought, reading.sought_at = offset, now
        log_start = self._logs[partition].start if partition in self._logs else 0
        if log_start > offset:
            log.warning(
                "%s/%d: the log does not hold offsets %d to %d any more, which were not read",
                self.topic, partition, offset, log_start - 1,
            )  # fmt: skip
            await self._close_chunk(partition, reading)
            # The first message that there is may lie within a chunk that is stored: as at the beginning.
            reading.fold, reading.placed = self._fold(partition), False
            reading.read_through = log_start - 1
        log.warning(
            "%s/%d: offset %d was not delivered: it is fetched again",
            self.topic,
            partition,
            reading.next_offset,
        )
        await self._group.fetch_from(self.topic, partition, reading.next_offset)

    async def _fetch_what_is_missed(self) -> None:
        """Fetch again where the log has messages, none has come for long, and none waits for us."""
        missed = [
            (partition, span) for partition, span in self._logs.items() if self._is_missed(partition, span)
        ]
        # Side by side: each may wait for a broker.
        await asyncio.gather(*(self._fetch_missed(partition, span) for partition, span in missed))

    def _is_missed(self, partition: int, span: LogSpan) -> bool:
        reading, now = self._current(partition), time.monotonic()
        next_offset = (self._holes.get(partition) or Holes()).past(
            span.next_offset if reading is None else reading.next_offset
        )
        if (
            next_offset >= span.end
            or partition in self.pauses
            or partition in self._taken
            or self._group.waits(self.topic, partition)
        ):
            self._waiting.pop(partition, None)
            return False
        place = self._group.generation(), next_offset
        waited, since = self._waiting.get(partition, (place, now))
        if waited != place:
            since = now
        is_missed = now - since > MISSED_AFTER_S
        self._waiting[partition] = place, now if is_missed else since
        return is_missed

    async def _fetch_missed(self, partition: int, span: LogSpan) -> None:
        reading = await self._reading(partition, self._group.generation(), span.next_offset)
        if reading is not None and reading.next_offset < span.end and partition not in self.pauses:
            await self._fetch_again(partition, reading)

    async def _begin(self, partition: int, delivered: int) -> int | None:
        """Return where the group begins to read, None where nobody says it now; Faust may deliver what lies behind."""
        with suppress(KafkaError, OSError):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await self._group.begin(self.topic, partition, delivered)
        return None

    async def _place(self, partition: int, reading: Reading[Message], first: Record) -> None:
        """Have a stored chunk that holds the first message read from its start.

        Where the log does not have that any more, what is stored of it stays, and is passed over.
        """
        chunk = await self._patiently(
            lambda client: read_chunk_of(client, self.stream, partition, first, self._rule)
        )
        if chunk is None:
            reading.placed = True
        elif (span := self._logs.get(partition)) is not None:
            log.warning(
                "%s/%d: offset %d lies within chunk %d", self.topic, partition, first.offset, chunk.chunk
            )
            reading.placed = True
            if span.start > chunk.chunk:
                reading.read_through = max(chunk.through, first.offset - 1)
                self._acknowledge(partition, reading)
            else:
                reading.read_through = chunk.chunk - 1

    def _current(self, partition: int) -> Reading[Message] | None:
        """Return the partition as it is read in the group's current generation, if it is."""
        reading = self._readings.get(partition)
        return reading if reading is not None and reading.generation == self._group.generation() else None

    async def _fold_deliveries(
        self, partition: int, reading: Reading[Message], delivered: Sequence[Delivery]
    ) -> None:
        fold = reading.fold
        by_offset = {delivery.record.offset: delivery for delivery in delivered}
        for begins, records in fold.runs([delivery.record for delivery in by_offset.values()]):
            if partition in self.pauses:
                return
            if begins:
                await self._close_chunk(partition, reading)
                fold.open(records[0])
            decoded = fold.decode(records)
            while unknown := fold.unknown(decoded):
                fold.restore(await self._boots(partition, fold.chunk, unknown))
            events, rejected = fold.fold(records, decoded)
            reading.read_through = records[-1].offset
            reading.read_append_ms = records[-1].append_ms
            reading.read_at = time.monotonic()
            self.messages += len(records)
            self.events += events
            self.rejected += len(rejected)
            self._dirty.add(partition)
            await self._limit(
                partition, reading, [(by_offset[r.offset].key, r.offset not in rejected) for r in records]
            )

    async def _limit(
        self, partition: int, reading: Reading[Message], senders: Sequence[tuple[bytes | None, bool]]
    ) -> None:
        """Pause the partition when too much of it is rejected, unless that was accepted."""
        share = reading.limit.count(senders, reading.read_append_ms or 0)
        if share is None:
            return
        state = reading.state
        if not reading.limit.objects(share):
            if state is not None and state.accept_until == FOR_EVER:
                reading.state = await self.pauses.close(state, reading.read_through)
        elif state is None or reading.read_through >= state.accept_until:
            await self.pauses.begin(partition, share, reading.next_offset, state)
            if reading.generation == self._group.generation():
                self._group.pause(self.topic, partition)

    async def _go_on(self, state: PausedPartition) -> None:
        """Read again a partition that was paused: what came meanwhile was not kept."""
        reading = self._current(state.partition)
        if reading is not None:
            reading.state = state
            await self._group.fetch_from(self.topic, state.partition, reading.next_offset)

    async def _reading(self, partition: int, generation: int, delivered: int) -> Reading[Message] | None:
        """Return the partition as it is read in this generation; None where nobody says where that begins."""
        reading = self._readings.get(partition)
        if reading is not None and reading.generation == generation:
            return reading
        self._forget_other_generations(generation)
        begin = await self._begin(partition, delivered)
        if begin is None:
            return None
        state = (await self._patiently(read_paused)).get((self.stream, partition))
        limit = self._limits.setdefault(partition, RejectionLimit(self._max_rejected_share))
        reading = self._readings[partition] = Reading(
            generation, self._fold(partition), limit, state, begin - 1
        )
        if state is not None and state.paused and self._max_rejected_share < 1:
            self.pauses.restore(state)
        elif state is not None and state.paused:
            reading.state = await self.pauses.close(state, begin)
        return reading

    def _fold(self, partition: int) -> PartitionFold[Message]:
        return PartitionFold(self._make_directory(), self.topic, partition, self._rule, self._bounds)

    def _forget_other_generations(self, generation: int) -> None:
        """What was read in them and not acknowledged is read again, by its new owner."""
        self._readings = {p: r for p, r in self._readings.items() if r.generation == generation}
        self._dirty &= self._readings.keys()
        self.stored = {p: stored for p, stored in self.stored.items() if p in self._readings}
        self.pauses.keep(set(self._readings))

    async def _close_chunk(self, partition: int, reading: Reading[Message]) -> None:
        """Store the open chunk's rows and acknowledge its messages, in order."""
        if not reading.fold.is_open:
            return
        if partition in self._dirty:
            await self._store({partition: reading})
            self._dirty.discard(partition)
        self._acknowledge(partition, reading)

    def _acknowledge(self, partition: int, reading: Reading[Message]) -> None:
        if self._current(partition) is reading:
            self._group.acknowledge(self.topic, partition, reading.read_through)
        reading.acknowledged = reading.read_through

    def _acknowledge_idle(self) -> None:
        """Acknowledge what is stored where nothing has come for so long that the next message begins a chunk."""
        quiet_since = time.monotonic() - self._rule.length_ms / 1000 - IDLE_MARGIN_S
        for partition, reading in self._readings.items():
            if (
                reading.acknowledged < reading.read_through
                and reading.fold.is_open
                and reading.read_at < quiet_since
                and partition not in self._dirty
                and partition not in self.pauses
            ):
                self._acknowledge(partition, reading)

    async def _flush_if_due(self) -> None:
        if self._dirty and time.monotonic() - self._flushed_at >= self._flush_s:
            readings = {partition: self._readings[partition] for partition in self._dirty}
            await self._store(readings)
            self._dirty.clear()
            self._flushed_at = time.monotonic()

    async def _store(self, readings: dict[int, Reading[Message]]) -> None:
        """Store what changed. When this is cancelled, what was taken stays to be stored the next time."""
        for partition, reading in readings.items():
            rejected, rejected_rows = reading.fold.take_rejected()
            reading.rejected += rejected
            reading.rows += reading.fold.take_rows() + rejected_rows
            if reading.rejected:
                await self._send_rejected(self.topic, partition, reading.rejected)
                reading.rejected = []
        await self._writer.write([row for reading in readings.values() for row in reading.rows])
        for partition, reading in readings.items():
            reading.rows = []
            if holes := self._holes.get(partition):
                holes.forget_before(reading.next_offset)
            self.stored[partition] = Stored(reading.next_offset, reading.read_append_ms)

    async def _take_reports(self) -> None:
        """Take up holes of the log, and name what cannot be read, before what lies behind it is acknowledged.

        Both are told before what lies behind them is delivered.
        """
        while self._reports:
            partition, unreadable, found = self._reports.popleft()
            self._unreadable += [(partition, batch) for batch in unreadable]
            holes = self._holes.setdefault(partition, Holes())
            for hole in found:
                holes.add(hole.first, hole.last)
        while self._unreadable:
            partition = self._unreadable[0][0]
            batches = [batch for place, batch in self._unreadable if place == partition]
            rejections = [_rejection(batch) for batch in batches]
            await self._send_rejected(self.topic, partition, rejections)
            await self._writer.write([self._fold(partition).rejected_row(r) for r in rejections])
            self._unreadable = [(place, batch) for place, batch in self._unreadable if place != partition]
            self.unreadable_batches += len(batches)
            for batch in batches:
                self._holes[partition].add(batch.first, batch.last)

    async def _boots(self, partition: int, chunk: int, unknown: set[BootKey]) -> list[Boot]:
        return await self._patiently(
            lambda client: read_boots(client, self.stream, partition, chunk, unknown)
        )

    async def _patiently(self, read: Callable[[AsyncClient], Awaitable[Value]]) -> Value:
        """Read from ClickHouse, waiting out an outage."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                value = await read(await self._writer.client())
                self.failure = ""
                return value
            except (StoreError, ClickHouseError, OSError) as error:
                failure = f"ClickHouse cannot be read: {error}"
                if failure != self.failure:
                    log.warning("%s: nothing more of %s is read, and it is tried again", failure, self.topic)
                self.failure = failure
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)


def _rejection(batch: UnreadableBatch) -> Rejection:
    append_ms = time.time_ns() // 1_000_000 if batch.append_ms is None else batch.append_ms
    error = InvalidMessageError("unreadable_batch", batch.detail)
    return Rejection(Record(batch.first, append_ms, batch.value), error, batch.size_bytes)
