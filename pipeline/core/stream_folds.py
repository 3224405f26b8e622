"""The kinds of stream, each behind the same interface: requests, hardware, engine, outcomes, replicas.

What differs between the topics belongs here; what they share (chunks, rejections) is in partition.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, Protocol, Self, TypeVar

from endpoint_analytics.pipeline.core.batches import Batch as AnyRequests
from endpoint_analytics.pipeline.core.boots import Boot, BootKey, Boots
from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.core.copies import MAX_COPIES, copy_keys, process_of, since, totals_of
from endpoint_analytics.pipeline.core.outcomes_fold import OutcomeWindows
from endpoint_analytics.pipeline.core.overflow import OverflowRule
from endpoint_analytics.pipeline.core.request_rows import rows_of
from endpoint_analytics.pipeline.core.requests_fold import Accepted, fold_requests
from endpoint_analytics.pipeline.core.row_block import RowBlock
from endpoint_analytics.pipeline.core.rows import Chunk, Row, Rows, boot_block, seconds6, window_block
from endpoint_analytics.pipeline.core.sample_fold import SampleWindows
from endpoint_analytics.pipeline.core.windows import Windows
from endpoint_analytics.schemas.codec import (
    decode_engine,
    decode_hardware,
    decode_outcomes,
    decode_replicas,
    decode_request_form,
)
from endpoint_analytics.schemas.engine import EngineBatch
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.hardware import HardwareBatch
from endpoint_analytics.schemas.outcomes import OutcomeBatch
from endpoint_analytics.schemas.packed_requests import PackedBatch, unpack
from endpoint_analytics.schemas.replicas import ReplicaMessage, ReplicaState
from endpoint_analytics.schemas.samples import SampleBatch

Message = TypeVar("Message")

Run = Sequence[tuple[Record, Message]]
"""Messages of one partition, in order, each with its record."""

QUIET_MS = 15 * 60 * 1000
"""A boot without messages for this long (in append time) is forgotten until it sends again."""


@dataclass(slots=True)
class FoldOutcome:
    """The result of folding a run of messages."""

    events: int = 0
    duplicates: int = 0
    refused: dict[int, InvalidMessageError] = field(default_factory=dict)


class StreamFold(Protocol[Message]):
    """One kind of stream, for one partition."""

    stream: str

    def decode(self, value: bytes | None) -> Message:
        """Return the message, or raise InvalidMessageError."""

    def check(self, message: Message) -> None:
        """Raise InvalidMessageError for what `decode` leaves to `fold_together`: contents that cannot be read."""

    def span_us(self, message: Message) -> tuple[int, int]:
        """Return the start and end of the time that the message covers, in microseconds since 1970."""

    def unknown(self, messages: Sequence[Message]) -> set[BootKey]:
        """Return the boots whose state must be restored before folding the messages; call it until it returns none."""

    def restore(self, boot: Boot) -> None:
        """Add a boot with its state at the chunk's start."""

    def open(self, first: Record) -> None:
        """Open a chunk."""

    @classmethod
    def fold_together(cls, runs: Sequence[tuple[Self, Run[Message]]]) -> list[FoldOutcome]:
        """Fold messages of the open chunks of several partitions, in the order of each."""

    def take_rows(self, chunk: Chunk, *, closing: bool) -> Rows:
        """Return the rows that changed since the last call; if the chunk is closing, with its boots' states."""


Batch = TypeVar("Batch", AnyRequests, HardwareBatch, EngineBatch, OutcomeBatch)
Sampled = TypeVar("Sampled", HardwareBatch, EngineBatch)


class _BootFold(Generic[Batch]):
    """What the streams with boots share: their state by seq."""

    def __init__(self) -> None:
        self._boots = Boots()
        self._overflow = OverflowRule()

    def check(self, message: Batch) -> None:
        """Do nothing: `decode` checks all."""

    def span_us(self, message: Batch) -> tuple[int, int]:
        return message.start_us, message.end_us

    def unknown(self, messages: Sequence[Batch]) -> set[BootKey]:
        key_for = self._overflow.key_for
        keys = {key_for(boot_key(message)) for message in messages}
        unknown = {key for key in keys if key not in self._boots}
        for key in keys - unknown:
            if (boot := self._boots[key]).copies:
                unknown.update(copy for copy in copy_keys(boot) if copy not in self._boots)
        return unknown

    def restore(self, boot: Boot) -> None:
        self._boots.restore(boot)

    def accept(self, run: Run[Batch], outcome: FoldOutcome) -> list[tuple[Boot, Batch, Record]]:
        """Return the messages whose seq was not counted before; count the others."""
        new = []
        boots, key_for = self._boots, self._overflow.key_for
        for record, message in run:
            known = boots[key_for(boot_key(message))]
            copies = known.copies
            boot = process_of(boots, known, message)
            if boot is None or known.copies != copies:
                known.conflicts += boot is None
                boots.touch(known, record.offset, record.append_ms)
            if boot is None:
                outcome.refused[record.offset] = InvalidMessageError(
                    "boot_conflict",
                    f"more than {MAX_COPIES + 1} processes send as boot {message.boot_id} of {message.replica_id}: "
                    "start each of them separately",
                )
                continue
            boots.touch(boot, record.offset, record.append_ms)
            if boot.accept(message.seq, message.end_us):
                new.append((boot, message, record))
            else:
                outcome.duplicates += 1
        return new

    def _open_boots(self, first: Record) -> None:
        self._overflow = OverflowRule()
        self._boots.forget_before(first.append_ms - QUIET_MS)

    def _rows(self, chunk: Chunk, windows: RowBlock | None, *, closing: bool) -> Rows:
        """Return the windows, and the boots: ClickHouse copies to `boots` what `boot_states` gets."""
        table = "boot_states" if closing else "boots"
        boots = self._boots.take_unclosed() if closing else self._boots.take_dirty()
        found = [windows, boot_block(table, chunk, boots) if boots else None]
        return [block for block in found if block is not None]


class RequestsFold(_BootFold[AnyRequests]):
    """Request batches to `request_windows`, `boots` and `boot_states`."""

    stream = "requests"

    def __init__(self) -> None:
        super().__init__()
        self.windows = Windows()

    def decode(self, value: bytes | None) -> AnyRequests:
        """Decode a request batch, of either form."""
        return decode_request_form(value)

    def check(self, message: AnyRequests) -> None:
        """Raise InvalidMessageError if packed rows cannot be read."""
        if isinstance(message, PackedBatch):
            unpack(message)

    def open(self, first: Record) -> None:
        """Open a chunk: its windows are empty."""
        self.windows = Windows()
        self._open_boots(first)

    @classmethod
    def fold_together(cls, runs: Sequence[tuple[Self, Run[AnyRequests]]]) -> list[FoldOutcome]:
        """Fold all batches at once."""
        outcomes = [FoldOutcome() for _ in runs]
        messages = [message for _, run in runs for _, message in run]
        rows, faults = rows_of(messages)
        readable = [run for _, run in runs]
        if faults:  # as if they had been refused when they were decoded: their numbers are not counted
            numbers = count()
            readable = [
                [each for each in run if _is_readable(each, faults.get(next(numbers)), outcome)]
                for (_, run), outcome in zip(runs, outcomes, strict=True)
            ]
        groups: list[tuple[Windows, list[Accepted]]] = [
            (
                fold.windows,
                [(boot, batch, record.offset) for boot, batch, record in fold.accept(run, outcome)],
            )
            for (fold, _), run, outcome in zip(runs, readable, outcomes, strict=True)
        ]
        is_all = len(messages) == sum(len(accepted) for _, accepted in groups)
        folded_groups = fold_requests(groups, rows if is_all else None)
        for outcome, folded in zip(outcomes, folded_groups, strict=True):
            outcome.events = folded.events
            outcome.refused |= folded.refused
        return outcomes

    def take_rows(self, chunk: Chunk, *, closing: bool) -> Rows:
        """Return changed windows and boots."""
        return self._rows(chunk, window_block(chunk, self.windows), closing=closing)


class _SampleFold(_BootFold[Sampled]):
    """What the two streams of samples share: batches to rows of `table`, `boots` and `boot_states`."""

    table: str

    def __init__(self) -> None:
        super().__init__()
        self.windows = SampleWindows(self.table)

    def open(self, first: Record) -> None:
        """Open a chunk: its windows are empty."""
        self.windows = SampleWindows(self.table)
        self._open_boots(first)

    @classmethod
    def fold_together(cls, runs: Sequence[tuple[Self, Run[Sampled]]]) -> list[FoldOutcome]:
        """Fold each partition's batches by themselves."""
        return [fold.fold(run) for fold, run in runs]

    def fold(self, run: Run[Sampled]) -> FoldOutcome:
        """Fold the batches of one partition."""
        outcome = FoldOutcome()
        accepted = self.accept(run, outcome)
        folded = self.windows.fold([(boot.key, batch, record.offset) for boot, batch, record in accepted])
        for (boot, batch, record), found in zip(accepted, folded, strict=True):
            if isinstance(found, InvalidMessageError):
                outcome.refused[record.offset] = found
            else:
                outcome.events += found
                boot.saw(batch.seq, batch.start_us, batch.end_us)
        return outcome

    def take_rows(self, chunk: Chunk, *, closing: bool) -> Rows:
        """Return changed windows and boots."""
        return self._rows(chunk, self.windows.take_block(chunk), closing=closing)


class HardwareFold(_SampleFold[HardwareBatch]):
    """Hardware batches to `hardware_windows`, `boots` and `boot_states`."""

    stream = "hardware"
    table = "hardware_windows"

    def decode(self, value: bytes | None) -> HardwareBatch:
        """Decode a hardware batch."""
        return decode_hardware(value)


class EngineFold(_SampleFold[EngineBatch]):
    """Engine batches to `engine_windows`, `boots` and `boot_states`."""

    stream = "engine"
    table = "engine_windows"

    def decode(self, value: bytes | None) -> EngineBatch:
        """Decode an engine batch."""
        return decode_engine(value)


class OutcomesFold(_BootFold[OutcomeBatch]):
    """Outcome batches to `outcome_windows`, `request_samples`, `boots` and `boot_states`."""

    stream = "outcomes"

    def __init__(self) -> None:
        super().__init__()
        self.windows = OutcomeWindows()

    def decode(self, value: bytes | None) -> OutcomeBatch:
        """Decode an outcome batch."""
        return decode_outcomes(value)

    def open(self, first: Record) -> None:
        """Open a chunk: its windows are empty."""
        self.windows = OutcomeWindows()
        self._open_boots(first)

    @classmethod
    def fold_together(cls, runs: Sequence[tuple[Self, Run[OutcomeBatch]]]) -> list[FoldOutcome]:
        """Fold each partition's batches by themselves."""
        return [fold.fold(run) for fold, run in runs]

    def fold(self, run: Run[OutcomeBatch]) -> FoldOutcome:
        """Fold the batches of one partition."""
        outcome = FoldOutcome()
        accepted = self.accept(run, outcome)
        self.windows.fold([(boot.key, batch, record.offset) for boot, batch, record in accepted])
        for boot, batch, _ in accepted:
            requests = len(batch.outcomes.at_us)
            outcome.events += requests
            boot.finished += requests
            if boot.saw(batch.seq, batch.start_us, batch.end_us):
                boot.totals = since(totals_of(batch), boot.inherited)
        return outcome

    def take_rows(self, chunk: Chunk, *, closing: bool) -> Rows:
        """Return changed windows, sampled requests and boots."""
        samples = self.windows.take_samples(chunk)
        return [*samples, *self._rows(chunk, self.windows.take_block(chunk), closing=closing)]


class ReplicasFold:
    """Replica states and endpoint settings to one row each, identified by their content and time."""

    stream = "replicas"

    def __init__(self) -> None:
        self._rows: list[tuple[Record, ReplicaMessage]] = []

    def decode(self, value: bytes | None) -> ReplicaMessage:
        """Decode a replica state or an endpoint's settings."""
        return decode_replicas(value)

    def check(self, message: ReplicaMessage) -> None:
        """Do nothing: `decode` checks all."""

    def span_us(self, message: ReplicaMessage) -> tuple[int, int]:
        """Return the moment twice."""
        return message.at_us, message.at_us

    def unknown(self, messages: Sequence[ReplicaMessage]) -> set[BootKey]:  # noqa: ARG002 - the Protocol's
        """Return nothing: these messages do not depend on boots."""
        return set()

    def restore(self, boot: Boot) -> None:
        """Do nothing."""

    def open(self, first: Record) -> None:
        """Open a chunk: no state is kept between messages."""

    @classmethod
    def fold_together(cls, runs: Sequence[tuple[Self, Run[ReplicaMessage]]]) -> list[FoldOutcome]:
        """Fold each partition's messages by themselves."""
        return [fold.fold(run) for fold, run in runs]

    def fold(self, run: Run[ReplicaMessage]) -> FoldOutcome:
        """Keep the messages until their rows are taken."""
        self._rows.extend(run)
        return FoldOutcome(events=len(run))

    def take_rows(self, chunk: Chunk, *, closing: bool) -> Rows:  # noqa: ARG002 - the Protocol's
        """Return one row per message."""
        rows = [_replica_row(chunk, record, message) for record, message in self._rows]
        self._rows.clear()
        return rows


def _is_readable(
    message: tuple[Record, AnyRequests], error: InvalidMessageError | None, outcome: FoldOutcome
) -> bool:
    if error is not None:
        outcome.refused[message[0].offset] = error
    return error is None


def boot_key(message: AnyRequests | OutcomeBatch | SampleBatch) -> BootKey:
    """Return the boot that sent a batch."""
    return BootKey(message.namespace, message.endpoint, message.replica_id, message.boot_id)


def _replica_row(chunk: Chunk, record: Record, message: ReplicaMessage) -> Row:
    row: dict[str, object] = {
        "namespace": message.namespace,
        "endpoint": message.endpoint,
        "at": seconds6(message.at_us),
        "partition": chunk.partition,
        "offset": record.offset,
    }
    if isinstance(message, ReplicaState):
        # A state has been entered when it is reported: one in the future is from a clock that is ahead.
        row["at"] = seconds6(min(message.at_us, record.append_ms * 1000 + 999))
        row |= {"replica_id": message.replica_id, "state": message.state, "reason": message.reason}
        return Row("replica_events", row)
    row |= {"min_replicas": message.min_replicas, "max_replicas": message.max_replicas}
    return Row("endpoint_settings", row)
