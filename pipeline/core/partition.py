"""The fold of one partition: decoding, the open chunk, rejections. A pure function of a run of the Kafka log.

The caller reads, stores and acknowledges: it closes the chunk (takes and stores the rows) before it opens the next one,
and restores the boots that `unknown` returns before it folds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from endpoint_analytics.pipeline.core.boots import Boot, BootKey
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record, StoredChunks
from endpoint_analytics.pipeline.core.rows import Chunk, Row, Rows, seconds3
from endpoint_analytics.pipeline.core.stream_folds import FoldOutcome, StreamFold
from endpoint_analytics.schemas.errors import InvalidMessageError

Message = TypeVar("Message")


RUN_BYTES = 512 * 1024

CHUNK_ROW_MS = 10_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a message's time may differ from when the broker appended it."""

    late_us: int = 48 * 3600 * 1_000_000
    early_us: int = 60 * 1_000_000


@dataclass(frozen=True, slots=True)
class Rejection:
    """An unusable message, and why; `size_bytes` is set if the record contains only part of it."""

    record: Record
    error: InvalidMessageError
    size_bytes: int | None = None

    @property
    def value_bytes(self) -> int:
        """Return the size of the message's value."""
        return len(self.record.value or b"") if self.size_bytes is None else self.size_bytes


@dataclass(slots=True)
class _Tally:
    last: Record
    stored_ms: int | None = None
    """Up to which append time a row was taken; None before the first."""
    messages: int = 0
    events: int = 0
    duplicates: int = 0
    rejected: int = 0


class _Opened(NamedTuple):
    chunk: Chunk
    tally: _Tally


@dataclass(frozen=True, slots=True)
class Decoded(Generic[Message]):
    """A run of the open chunk of a partition, and the usable messages in it."""

    fold: PartitionFold[Message]
    records: Sequence[Record]
    messages: Sequence[tuple[Record, Message]]


def fold_together(runs: Sequence[Decoded[Message]]) -> list[tuple[int, set[int]]]:
    """Fold runs of different partitions; returns of each the number of events, and the offsets of rejected messages."""
    if not runs:
        return []
    folds = [(run.fold.stream_fold, run.messages) for run in runs]
    outcomes = folds[0][0].fold_together(folds)
    return [run.fold.count(run, outcome) for run, outcome in zip(runs, outcomes, strict=True)]


class PartitionFold(Generic[Message]):
    """The state of one partition's fold, starting at the first message of a chunk."""

    def __init__(
        self, stream_fold: StreamFold[Message], topic: str, partition: int, rule: ChunkRule, bounds: Bounds
    ) -> None:
        self.stream_fold = stream_fold
        self._topic = topic
        self._partition = partition
        self._rule = rule
        self._bounds = bounds
        self.stored = StoredChunks()
        """What is stored of the log that is to be read; set it before the first run."""
        self._first: Record | None = None
        self._tally: _Tally | None = None
        self._rejected: list[Rejection] = []

    @property
    def is_open(self) -> bool:
        """Whether a chunk was opened."""
        return self._first is not None

    @property
    def chunk(self) -> int:
        """Return the open chunk: the offset of its first message."""
        return self._open().chunk.first.offset

    def runs(self, records: Sequence[Record]) -> Iterator[tuple[bool, Sequence[Record]]]:
        """Divide records, in offset order, at chunk boundaries; yields (whether a chunk begins, its records).

        Long runs are also divided, into about RUN_BYTES, so that their numbers stay in the CPU caches.
        """
        first, start, run_bytes = self._first, 0, 0
        stored = self.stored
        begins = False
        for index, record in enumerate(records):
            new = self._rule.begins(first, record)
            if stored.through and first is not None:
                new = stored.begins(record) or (new and not stored.continues(first, record))
            if (new or run_bytes > RUN_BYTES) and index > start:
                yield begins, records[start:index]
                start, run_bytes, begins = index, 0, False
            if new:
                first, begins = record, True
            run_bytes += len(record.value or b"")
        if start < len(records):
            yield begins, records[start:]

    def open(self, first: Record) -> None:
        """Open the chunk that starts with `first`. The previous chunk's rows must be taken as `closing`, and stored."""
        self._first = Record(first.offset, first.append_ms, None)
        self._tally = _Tally(first)
        self.stream_fold.open(first)

    def decode(self, records: Iterable[Record]) -> list[tuple[Record, Message]]:
        """Return the usable messages; the others become rejections, for `take_rejected`."""
        decoded = []
        for record in records:
            try:
                message = self.stream_fold.decode(record.value)
                self._check_time(record, message)
            except InvalidMessageError as error:
                self._reject(record, error)
            else:
                decoded.append((record, message))
        return decoded

    def unknown(self, decoded: Sequence[tuple[Record, Message]]) -> set[BootKey]:
        """Return the boots whose state at the chunk's start must be restored before `fold`.

        Call it until it returns none: restored boots may refer to others.
        """
        return self.stream_fold.unknown([message for _, message in decoded])

    def restore(self, boots: Iterable[Boot]) -> None:
        """Add boots with their state from earlier chunks, or as new."""
        for boot in boots:
            self.stream_fold.restore(boot)

    def is_usable(self, record: Record) -> bool:
        """Whether a message, of any chunk, is usable. Counts nothing."""
        try:
            message = self.stream_fold.decode(record.value)
            self._check_time(record, message)
            self.stream_fold.check(message)
        except InvalidMessageError:
            return False
        return True

    def fold(
        self, records: Sequence[Record], decoded: Sequence[tuple[Record, Message]]
    ) -> tuple[int, set[int]]:
        """Fold a run of the open chunk with its decoded messages: `fold_together` for one partition."""
        [counted] = fold_together([Decoded(self, records, decoded)])
        return counted

    def count(self, run: Decoded[Message], outcome: FoldOutcome) -> tuple[int, set[int]]:
        """Count a folded run; returns the number of events, and the offsets of rejected messages."""
        tally = self._open().tally
        by_offset = {record.offset: record for record, _ in run.messages} if outcome.refused else {}
        for offset, error in outcome.refused.items():
            self._reject(by_offset[offset], error)
        tally.messages += len(run.records)
        tally.events += outcome.events
        tally.duplicates += outcome.duplicates
        tally.last = run.records[-1]
        if len(run.messages) == len(run.records):
            return outcome.events, set(outcome.refused)
        usable = {record.offset for record, _ in run.messages} - outcome.refused.keys()
        return outcome.events, {record.offset for record in run.records} - usable

    def take_rows(self, *, closing: bool = False) -> Rows:
        """Return the absolute rows that changed since the last call; before another chunk opens, as `closing`.

        Only then do they contain the state of the chunk's boots from which another reader may continue. The chunk's own
        row is among the first ones, and then only every CHUNK_ROW_MS.
        """
        chunk, tally = self._open()
        rows = list(self.stream_fold.take_rows(chunk, closing=closing))
        if closing or tally.stored_ms is None or tally.last.append_ms >= tally.stored_ms + CHUNK_ROW_MS:
            tally.stored_ms = tally.last.append_ms
            rows.append(self._chunk_row(chunk, tally))
        return rows

    def rejected_row(self, rejection: Rejection) -> Row:
        """Return the row of an unusable message."""
        record, error = rejection.record, rejection.error
        row: dict[str, object] = {
            "topic": self._topic,
            "partition": self._partition,
            "offset": record.offset,
            "append_time": seconds3(record.append_ms),
            "reason": error.reason,
            "detail": error.detail,
            "value_bytes": rejection.value_bytes,
        }
        return Row("rejected", row)

    def take_rejected(self) -> tuple[list[Rejection], list[Row]]:
        """Return the rejections since the last call, and their rows."""
        rejected, self._rejected = self._rejected, []
        return rejected, [self.rejected_row(rejection) for rejection in rejected]

    def _open(self) -> _Opened:
        if self._first is None or self._tally is None:
            raise RuntimeError("no chunk is open")
        return _Opened(Chunk(self.stream_fold.stream, self._partition, self._first), self._tally)

    def _check_time(self, record: Record, message: Message) -> None:
        start_us, end_us = self.stream_fold.span_us(message)
        append_us = record.append_ms * 1000
        if end_us > append_us + self._bounds.early_us:
            raise InvalidMessageError(
                "too_early",
                f"it ends {(end_us - append_us) / 1e6:.3f} s after the broker received it; "
                f"{self._bounds.early_us / 1e6:.0f} s are allowed: correct the sender's clock",
            )
        if start_us < append_us - self._bounds.late_us:
            raise InvalidMessageError(
                "too_late",
                f"it begins {(append_us - start_us) / 1e6:.3f} s before the broker received it; "
                f"{self._bounds.late_us / 1e6:.0f} s are allowed",
            )

    def _reject(self, record: Record, error: InvalidMessageError) -> None:
        self._open().tally.rejected += 1
        self._rejected.append(Rejection(record, error))

    def _chunk_row(self, chunk: Chunk, tally: _Tally) -> Row:
        row: dict[str, object] = {
            "stream": chunk.stream,
            "partition": chunk.partition,
            "chunk": chunk.first.offset,
            "version": tally.last.offset,
            "chunk_time": chunk.first.append_ms // 1000,
            "last_append": seconds3(tally.last.append_ms),
            "messages": tally.messages,
            "events": tally.events,
            "duplicates": tally.duplicates,
            "rejected": tally.rejected,
        }
        return Row("chunks", row)
