"""One stream's shell: messages read by Faust pass through the fold into ClickHouse, and are then acknowledged.

Messages are acknowledged chunk by chunk, in order, after the chunk's rows are stored: committed offsets are starts of
chunks, and rereading after a crash yields the same rows. If no messages arrive for longer than a chunk, stored messages
are acknowledged too; should the next message belong to that chunk after all, a reader that starts at it rereads the
chunk from its start.

Faust is not trusted to deliver everything: an offset that is missing, although the log contains it, would be lost
forever once later ones are acknowledged. So if a partition's deliveries lack an offset, start elsewhere than the group
does, or end before the log does, it is fetched again from there; until then later messages are ignored. Other
partitions continue meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiokafka.errors import KafkaError
from clickhouse_connect.driver.asyncclient import AsyncClient

from endpoint_analytics.pipeline.core.boots import Boot, BootKey
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.holes import Holes
from endpoint_analytics.pipeline.core.partition import (
    Bounds,
    Decoded,
    PartitionFold,
    Rejection,
    fold_together,
)
from endpoint_analytics.pipeline.core.row_block import RowBlock
from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.core.stream_folds import StreamFold
from endpoint_analytics.pipeline.store.boot_states import read_boots
from endpoint_analytics.pipeline.store.chunks import read_chunk_of, read_chunks_from, read_through
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.paused_partitions import (
    FOREVER,
    PausedPartition,
    read_paused,
)
from endpoint_analytics.pipeline.store.writer import FIRST_WAIT_S, LONGEST_WAIT_S, RowWriter
from endpoint_analytics.pipeline.stream.group import WorkerGroup
from endpoint_analytics.pipeline.stream.partition_pauses import PartitionPauses
from endpoint_analytics.pipeline.stream.partition_progress import Stored
from endpoint_analytics.pipeline.stream.partition_reading import Delivery, LogSpan, PartitionReading
from endpoint_analytics.pipeline.stream.range_reader import RangeReader
from endpoint_analytics.pipeline.stream.rejection_limit import RejectionLimit
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.kafka.record_batches import Hole, UnreadableBatch

Message = TypeVar("Message")
Value = TypeVar("Value")
log = logging.getLogger(__name__)

IDLE_MARGIN_S = 2.0
"""A chunk ends if no message arrived for its length plus this margin, which allows for clocks and the network."""

MAX_REPORTS = 500
"""Maximum number of queued reports of holes and unreadable batches; beyond it, the consumer waits."""

MISSED_AFTER_S = 10.0
"""Messages that are in the log but were not delivered for this long are fetched again."""

LONGEST_STORE_S = 2.0
"""How long reading goes on while a flush is stored."""

TOGETHER_BYTES = 2 * 1024 * 1024
"""How much is folded at once, besides a last run: a packed byte takes about a hundred in memory meanwhile."""

ANSWER_WITHIN_S = 5.0
"""How long all partitions wait for a broker's answer about one; after that, only this one waits."""


@dataclass(frozen=True, slots=True)
class _Continuation(Generic[Message]):
    """What one read adds to a partition."""

    partition: int
    reading: PartitionReading[Message]
    deliveries: Mapping[int, Delivery]
    """By offset: all that were not read before."""
    runs: deque[tuple[bool, Sequence[Record]]]
    """Those that continue what was read, divided at chunk boundaries: whether a chunk begins, and its messages."""


@dataclass(frozen=True, slots=True)
class _Taken(Generic[Message]):
    """What is to be stored of a partition, and how far it is stored then."""

    partition: int
    reading: PartitionReading[Message]
    rows: Sequence[Row | RowBlock]
    through: Stored


class StreamReader(Generic[Message]):
    """Reads one topic, as a member of `group`; `range_reader` reads the Kafka log independently of it."""

    def __init__(
        self,
        topic: str,
        make_fold: Callable[[], StreamFold[Message]],
        writer: RowWriter,
        group: WorkerGroup,
        send_rejected: Callable[[str, int, Sequence[Rejection]], Awaitable[None]],
        rule: ChunkRule,
        bounds: Bounds,
        flush_s: float,
        range_reader: RangeReader,
        max_rejected_share: float = 1.0,
    ) -> None:
        self.topic = topic
        self._make_fold = make_fold
        self.stream = make_fold().stream
        self._writer = writer
        self._group = group
        self._send_rejected = send_rejected
        self._rule = rule
        self._bounds = bounds
        self._flush_s = flush_s
        self._range_reader = range_reader
        self._max_rejected_share = max_rejected_share
        self._readings: dict[int, PartitionReading[Message]] = {}
        self._lock = asyncio.Lock()
        self._flushed_at = time.monotonic()
        self._dirty: set[int] = set()
        self._storing: asyncio.Task[None] | None = None
        """Stores what a flush took, while reading goes on."""
        self._reports: deque[tuple[int, Sequence[UnreadableBatch], Sequence[Hole]]] = deque()
        self._unreadable: list[tuple[int, UnreadableBatch]] = []
        self._holes: dict[int, Holes] = {}
        self._logs: Mapping[int, LogSpan] = {}
        self._logs_are_new = False
        self._stalled: dict[int, tuple[tuple[int, int], float]] = {}
        """By partition: the position (generation, offset) at which it waits for deliveries, and since when."""
        self._limits: dict[int, RejectionLimit] = {}
        self._taken: set[int] = set()
        """Partitions whose messages `read` is processing."""
        self.pauses = PartitionPauses(
            self.stream, topic, writer, range_reader, self._fold(0).is_usable, max_rejected_share
        )
        self.stored: dict[int, Stored] = {}
        """How far each partition being read is stored."""
        self.messages = self.events = self.rejected = self.unreadable_batches = 0
        self.failure = ""
        """Why the latest read from ClickHouse failed; empty if it succeeded."""

    async def read(self, deliveries: Sequence[Delivery]) -> None:
        """Fold the deliveries, and store rows that are due."""
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
                # Messages fetched before a rebalance are dropped: the new owner reads them again.
                if delivery.generation == self._group.generation():
                    partitions.setdefault(delivery.partition, []).append(delivery)
            continued = await self._together(self._continue(*item) for item in partitions.items())
            ready = [each for each in continued if each is not None]
            await self._fold_together(ready)
            await self._together(self._fetch_rest(each) for each in ready)
            await self._flush_if_due()

    async def flush_when_due(self) -> None:
        """Store rows that are due and acknowledge idle chunks; called by a timer, because deliveries may pause."""
        async with self._lock:
            await self._flush_if_due()
        await self._finish_storing()
        async with self._lock:
            await self._take_reports()
            await self._acknowledge_idle()
            if self._logs_are_new:
                self._logs_are_new = False
                await self._fetch_what_is_missed()

    async def stop(self) -> None:
        """End what is being stored: what is not acknowledged is read again."""
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.wait({self._storing})
            self._storing = None

    async def resume_healthy(self) -> None:
        """Resume paused partitions that are healthy or that an operator resumed; checking does not block others."""
        for state in await self.pauses.look(lambda: self._read_with_retries(read_paused)):
            async with self._lock:
                if self.pauses.end(state):
                    await self._resume(state)

    def report(self, partition: int, unreadable: Sequence[UnreadableBatch], holes: Sequence[Hole]) -> bool:
        """Queue a report of holes and unreadable batches, before later messages are delivered. Thread-safe.

        Returns False if the queue is full: then it must be reported again.
        """
        if len(self._reports) >= MAX_REPORTS:
            return False
        self._reports.append((partition, unreadable, holes))
        return True

    def saw_logs(self, logs: Mapping[int, LogSpan]) -> None:
        """Record the offset ranges of our partitions' logs, of those with a leader."""
        self._logs, self._logs_are_new = logs, True
        for partition, span in logs.items():
            if holes := self._holes.get(partition):
                reading = self._current(partition)
                holes.forget_before(span.next_offset if reading is None else reading.next_offset)
        # The pause of a partition that moved to another worker is reported by that worker.
        self.pauses.keep({p for p in self._readings if p in logs or self._current(p) is not None})

    def stored_of(self, partition: int, committed: int | None) -> Stored:
        """Return how far a partition is stored; before its first message, where reading begins."""
        span = self._logs.get(partition)
        begin = max(committed or 0, span.start if span is not None else 0)
        stored = self.stored.get(partition) or Stored(begin, None)
        holes = self._holes.get(partition)
        return stored._replace(next_offset=holes.past(stored.next_offset)) if holes else stored

    async def _together(self, tasks: Iterable[Coroutine[Any, Any, Value]]) -> list[Value]:
        """Do this for several partitions at once, so that one that waits for an answer does not delay the others."""
        try:
            async with asyncio.TaskGroup() as group:
                started = [group.create_task(task) for task in tasks]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        if any(task.cancelled() for task in started):  # a task group does not raise for that
            raise RuntimeError(f"reading {self.topic} was cancelled: its messages must be read again")
        return [task.result() for task in started]

    async def _continue(self, partition: int, delivered: Sequence[Delivery]) -> _Continuation[Message] | None:
        """Return what of the deliveries continues the partition; None if nothing can be read now."""
        reading = await self._reading(partition, delivered[0].generation, delivered[0].record.offset)
        if reading is None:
            return None  # it is unknown where to begin: retry later
        if partition in self.pauses:
            self._group.pause(self.topic, partition)  # all of it is delivered again when it resumes
            return None
        by_offset = {d.record.offset: d for d in delivered if d.record.offset > reading.read_through}
        whole = self._without_gap(partition, reading, [by_offset[offset] for offset in sorted(by_offset)])
        if whole and not reading.placed:
            await self._locate(partition, reading, whole[0].record)
            whole = self._without_gap(partition, reading, whole)
        records = [delivery.record for delivery in whole] if reading.placed else []
        return _Continuation(partition, reading, by_offset, deque(reading.fold.runs(records)))

    async def _fetch_rest(self, continuation: _Continuation[Message]) -> None:
        """Fetch the partition again if something between what was read and what was delivered is missing."""
        partition, reading = continuation.partition, continuation.reading
        if partition not in self.pauses and max(continuation.deliveries, default=-1) > reading.read_through:
            await self._fetch_again(partition, reading)

    def _without_gap(
        self, partition: int, reading: PartitionReading[Message], delivered: Sequence[Delivery]
    ) -> Sequence[Delivery]:
        """Return the deliveries that continue what was read, up to the first missing offset that the log contains."""
        delivered = [delivery for delivery in delivered if delivery.record.offset > reading.read_through]
        if not delivered or delivered[-1].record.offset - reading.read_through == len(delivered):
            return delivered
        holes, next_offset = self._holes.get(partition) or Holes(), reading.next_offset
        for index, delivery in enumerate(delivered):
            if delivery.record.offset > holes.past(next_offset):
                return delivered[:index]
            next_offset = delivery.record.offset + 1
        return delivered

    async def _fetch_again(self, partition: int, reading: PartitionReading[Message]) -> None:
        """Fetch the partition again after what was read, because the next message was not delivered."""
        offset, now = reading.next_offset, time.monotonic()
        if self._current(partition) is not reading or (
            reading.refetched_from == offset and now - reading.refetched_at < MISSED_AFTER_S
        ):
            return  # already being fetched, or no longer ours
        reading.refetched_from, reading.refetched_at = offset, now
        log_start = self._logs[partition].start if partition in self._logs else 0
        if log_start > offset:
            log.warning(
                "%s/%d: the log no longer contains offsets %d to %d, which were not read",
                self.topic, partition, offset, log_start - 1,
            )  # fmt: skip
            await self._close_chunks({partition: reading})
            # The first available message may lie within a stored chunk, as at the start of reading.
            reading.fold, reading.placed = self._fold(partition), False
            reading.read_through = log_start - 1
        log.warning(
            "%s/%d: offset %d was not delivered; fetching it again",
            self.topic,
            partition,
            reading.next_offset,
        )
        await self._group.fetch_from(self.topic, partition, reading.next_offset)

    async def _fetch_what_is_missed(self) -> None:
        """Fetch partitions again whose log has messages although none was delivered for long or is queued."""
        missed = [
            (partition, span) for partition, span in self._logs.items() if self._is_missed(partition, span)
        ]
        # Concurrently: each may wait for a broker.
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
            self._stalled.pop(partition, None)
            return False
        position = self._group.generation(), next_offset
        stalled_at, since = self._stalled.get(partition, (position, now))
        if stalled_at != position:
            since = now
        is_missed = now - since > MISSED_AFTER_S
        self._stalled[partition] = position, now if is_missed else since
        return is_missed

    async def _fetch_missed(self, partition: int, span: LogSpan) -> None:
        reading = await self._reading(partition, self._group.generation(), span.next_offset)
        if reading is not None and reading.next_offset < span.end and partition not in self.pauses:
            await self._fetch_again(partition, reading)

    async def _begin(self, partition: int, delivered: int) -> int | None:
        """Return where the group starts reading, None if unknown now; Faust may deliver later offsets first."""
        with suppress(KafkaError, OSError):
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await self._group.start_offset(self.topic, partition, delivered)
        return None

    async def _locate(self, partition: int, reading: PartitionReading[Message], first: Record) -> None:
        """If a stored chunk contains the first message, read that chunk from its start.

        If the log no longer has its start, the stored part of the chunk is kept and skipped.
        """
        chunk = await self._read_with_retries(
            lambda client: read_chunk_of(client, self.stream, partition, first, self._rule)
        )
        begin = first.offset if chunk is None else chunk.chunk
        reading.fold.stored = await self._read_with_retries(
            lambda client: read_chunks_from(client, self.stream, partition, begin)
        )
        if chunk is None:
            reading.placed = True
        elif (span := self._logs.get(partition)) is not None:
            log.warning(
                "%s/%d: offset %d lies within chunk %d", self.topic, partition, first.offset, chunk.chunk
            )
            reading.placed = True
            if span.start > chunk.chunk:
                through = await self._read_with_retries(
                    lambda client: read_through(client, self.stream, partition, chunk)
                )
                reading.read_through = max(through, first.offset - 1)
                self._acknowledge(partition, reading)
            else:
                reading.read_through = chunk.chunk - 1

    def _current(self, partition: int) -> PartitionReading[Message] | None:
        """Return the reading of the partition in the group's current generation, if any."""
        reading = self._readings.get(partition)
        return reading if reading is not None and reading.generation == self._group.generation() else None

    async def _fold_together(self, continuations: Sequence[_Continuation[Message]]) -> None:
        """Fold the partitions' runs: the first of each together, then the second of each, and so on."""
        while waiting := [each for each in continuations if each.runs and each.partition not in self.pauses]:
            runs, size_bytes = [], 0
            for each in waiting:
                if size_bytes < TOGETHER_BYTES:
                    begins, records = each.runs.popleft()
                    runs.append((each, begins, records))
                    size_bytes += sum(len(record.value or b"") for record in records)
            await self._close_chunks({each.partition: each.reading for each, begins, _ in runs if begins})
            decoded = []
            for each, begins, records in runs:
                if begins:
                    each.reading.fold.open(records[0])
                decoded.append(Decoded(each.reading.fold, records, each.reading.fold.decode(records)))
            await self._together(
                self._restore(each.partition, run) for (each, *_), run in zip(runs, decoded, strict=True)
            )
            counted = fold_together(decoded)
            now = time.monotonic()
            for (each, _, records), (events, rejected) in zip(runs, counted, strict=True):
                reading, newest = each.reading, records[-1]
                reading.read_through, reading.read_append_ms = newest.offset, newest.append_ms
                reading.read_at = now
                self.messages += len(records)
                self.events += events
                self.rejected += len(rejected)
                self._dirty.add(each.partition)
                keys = each.deliveries
                await self._limit(
                    each.partition, reading, [(keys[r.offset].key, r.offset not in rejected) for r in records]
                )

    async def _restore(self, partition: int, run: Decoded[Message]) -> None:
        """Restore the boots that the run needs."""
        while unknown := run.fold.unknown(run.messages):
            run.fold.restore(await self._boots(partition, run.fold.chunk, unknown))

    async def _limit(
        self, partition: int, reading: PartitionReading[Message], senders: Sequence[tuple[bytes | None, bool]]
    ) -> None:
        """Pause the partition if too much of it is rejected, unless an operator accepted that."""
        share = reading.limit.count(senders, reading.read_append_ms or 0)
        if share is None:
            return
        state = reading.state
        if not reading.limit.is_exceeded_by(share):
            if state is not None and state.accept_until == FOREVER:
                reading.state = await self.pauses.close(state, reading.read_through)
        elif state is None or reading.read_through >= state.accept_until:
            await self.pauses.begin(partition, share, reading.next_offset, state)
            if reading.generation == self._group.generation():
                self._group.pause(self.topic, partition)

    async def _resume(self, state: PausedPartition) -> None:
        """Fetch a formerly paused partition again: messages delivered meanwhile were not kept."""
        reading = self._current(state.partition)
        if reading is not None:
            reading.state = state
            await self._group.fetch_from(self.topic, state.partition, reading.next_offset)

    async def _reading(
        self, partition: int, generation: int, delivered: int
    ) -> PartitionReading[Message] | None:
        """Return the reading of the partition in this generation, or None if it is unknown where that begins."""
        reading = self._readings.get(partition)
        if reading is not None and reading.generation == generation:
            return reading
        await self._finish_storing()
        self._forget_other_generations(generation)
        begin = await self._begin(partition, delivered)
        if begin is None:
            return None
        state = (await self._read_with_retries(read_paused)).get((self.stream, partition))
        limit = self._limits.setdefault(partition, RejectionLimit(self._max_rejected_share))
        reading = self._readings[partition] = PartitionReading(
            generation, self._fold(partition), limit, state, begin - 1
        )
        if state is not None and state.paused and self._max_rejected_share < 1:
            self.pauses.restore(state)
        elif state is not None and state.paused:
            reading.state = await self.pauses.close(state, begin)
        return reading

    def _fold(self, partition: int) -> PartitionFold[Message]:
        return PartitionFold(self._make_fold(), self.topic, partition, self._rule, self._bounds)

    def _forget_other_generations(self, generation: int) -> None:
        """Forget them: what they read but did not acknowledge is read again by the new owner."""
        self._readings = {p: r for p, r in self._readings.items() if r.generation == generation}
        self._dirty &= self._readings.keys()
        self.stored = {p: stored for p, stored in self.stored.items() if p in self._readings}
        self.pauses.keep(set(self._readings))

    async def _close_chunks(self, readings: Mapping[int, PartitionReading[Message]]) -> None:
        """Store the rows of open chunks and acknowledge their messages, in order."""
        closing = {partition: reading for partition, reading in readings.items() if reading.fold.is_open}
        if not closing:
            return
        await self._finish_storing()
        await self._store(await self._take(closing, closing=True))
        for partition, reading in closing.items():
            self._dirty.discard(partition)
            self._acknowledge(partition, reading)

    def _acknowledge(self, partition: int, reading: PartitionReading[Message]) -> None:
        if self._current(partition) is reading:
            self._group.acknowledge(self.topic, partition, reading.read_through)
        reading.acknowledged = reading.read_through

    async def _acknowledge_idle(self) -> None:
        """Close the chunks of partitions so long idle that the next message will start a new one."""
        idle_since = time.monotonic() - self._rule.length_ms / 1000 - IDLE_MARGIN_S
        idle = {
            partition: reading
            for partition, reading in self._readings.items()
            if reading.acknowledged < reading.read_through
            and reading.read_at < idle_since
            and partition not in self._dirty
            and partition not in self.pauses
        }
        await self._close_chunks(idle)

    async def _flush_if_due(self) -> None:
        """Take the rows that are due, and store them while reading goes on: one flush at a time."""
        now = time.monotonic()
        if self._storing is not None and (self._storing.done() or now - self._flushed_at > LONGEST_STORE_S):
            await self._finish_storing()  # what is read meanwhile stays in memory, so not for long
        if self._storing is None and self._dirty and now - self._flushed_at >= self._flush_s:
            taken = await self._take({partition: self._readings[partition] for partition in self._dirty})
            self._dirty.clear()
            self._flushed_at = now
            self._storing = asyncio.create_task(self._store(taken))

    async def _finish_storing(self) -> None:
        """Wait until the last flush is stored; raises what prevents it."""
        storing = self._storing
        if storing is not None:
            await asyncio.shield(storing)
            if self._storing is storing:
                self._storing = None

    async def _take(
        self, readings: Mapping[int, PartitionReading[Message]], *, closing: bool = False
    ) -> list[_Taken[Message]]:
        """Take the changes. If this is cancelled, rows already taken are kept and taken the next time."""
        for partition, reading in readings.items():
            rejected, rejected_rows = reading.fold.take_rejected()
            reading.rejected += rejected
            reading.rows += [*reading.fold.take_rows(closing=closing), *rejected_rows]
            if reading.rejected:
                await self._send_rejected(self.topic, partition, reading.rejected)
                reading.rejected = []
        taken = []
        for partition, reading in readings.items():
            rows, reading.rows = reading.rows, []
            taken.append(
                _Taken(partition, reading, rows, Stored(reading.next_offset, reading.read_append_ms))
            )
        return taken

    async def _store(self, taken: Sequence[_Taken[Message]]) -> None:
        """Store what was taken; if this is cancelled, it is taken again the next time."""
        try:
            await self._writer.write([row for each in taken for row in each.rows])
        except BaseException:
            for each in taken:
                each.reading.rows[:0] = each.rows
            raise
        for each in taken:
            if self._current(each.partition) is each.reading:
                if holes := self._holes.get(each.partition):
                    holes.forget_before(each.through.next_offset)
                self.stored[each.partition] = each.through

    async def _take_reports(self) -> None:
        """Record holes and reject unreadable batches, before later messages are acknowledged.

        Both are reported before later messages are delivered.
        """
        while self._reports:
            partition, unreadable, found = self._reports.popleft()
            self._unreadable += [(partition, batch) for batch in unreadable]
            holes = self._holes.setdefault(partition, Holes())
            for hole in found:
                holes.add(hole.first, hole.last)
        while self._unreadable:
            partition = self._unreadable[0][0]
            batches = [batch for other, batch in self._unreadable if other == partition]
            rejections = [_rejection(batch) for batch in batches]
            await self._send_rejected(self.topic, partition, rejections)
            await self._writer.write([self._fold(partition).rejected_row(r) for r in rejections])
            self._unreadable = [(other, batch) for other, batch in self._unreadable if other != partition]
            self.unreadable_batches += len(batches)
            for batch in batches:
                self._holes[partition].add(batch.first, batch.last)

    async def _boots(self, partition: int, chunk: int, unknown: set[BootKey]) -> list[Boot]:
        return await self._read_with_retries(
            lambda client: read_boots(client, self.stream, partition, chunk, unknown)
        )

    async def _read_with_retries(self, read: Callable[[AsyncClient], Awaitable[Value]]) -> Value:
        """Read from ClickHouse, retrying through outages."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                value = await self._writer.read(read)
                self.failure = ""
                return value
            except StoreError as error:
                failure = f"ClickHouse cannot be read: {error}"
                if failure != self.failure:
                    log.warning("%s: reading of %s is suspended, retrying", failure, self.topic)
                self.failure = failure
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)


def _rejection(batch: UnreadableBatch) -> Rejection:
    append_ms = time.time_ns() // 1_000_000 if batch.append_ms is None else batch.append_ms
    error = InvalidMessageError("unreadable_batch", batch.detail)
    return Rejection(Record(batch.first, append_ms, batch.value), error, batch.size_bytes)
