"""The rows of many request batches as arrays, of both forms: lists, and packed rows (see `schemas.packed_rows`).

Packed rows are read in two steps, each for all batches at once: where each table lies, then what all of them contain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.pipeline.core.batches import Batch, Column, column, values
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.limits import MAX_DURATION_US, MAX_EVENTS, MAX_STATUS, MIN_STATUS
from endpoint_analytics.schemas.packed_requests import PackedBatch
from endpoint_analytics.schemas.packed_rows import (
    COLUMNS,
    ENTRY_BYTES,
    EXCEPTIONS,
    LAST_KIND,
    MAX_WIDTH,
    WEIGHTS,
    Kind,
    bad_rows,
    unpack_rows,
)
from endpoint_analytics.schemas.requests import RequestBatch

_Ints = NDArray[np.int64]
_NONE: _Ints = np.empty(0, np.int64)
_COLUMNS, _WEIGHTS = np.array(COLUMNS), np.array(WEIGHTS)
_IS_EXCEPTIONS = np.isin(np.arange(16), list(EXCEPTIONS))


class Phase(NamedTuple):
    """One phase of all batches. `measured` is its wait or duration in microseconds; what is not needed is empty."""

    column: Column
    measured: _Ints = _NONE
    status: _Ints = _NONE


class RequestRows(NamedTuple):
    """All phases of some batches."""

    arrived: Phase
    informational: Phase
    responded: Phase
    finished: Phase
    aborted_pending: Phase
    aborted_streaming: Phase


def rows_of(batches: Sequence[Batch]) -> tuple[RequestRows, dict[int, InvalidMessageError]]:
    """Return the rows of the batches, in any order within a phase; or the errors of those that cannot be read."""
    packed = [index for index, batch in enumerate(batches) if isinstance(batch, PackedBatch)]
    if not packed:
        return _listed(batches), {}  # type: ignore[arg-type]  # all are RequestBatch
    rows, faults = _unpacked([batches[index].rows for index in packed])  # type: ignore[union-attr]
    if faults:
        return rows, {packed[index]: error for index, error in faults.items()}
    if len(packed) == len(batches):
        return rows, {}
    is_listed = np.ones(len(batches), np.bool_)
    is_listed[packed] = False
    listed = np.flatnonzero(is_listed)
    others = _listed([batches[index] for index in listed.tolist()])  # type: ignore[misc]
    joined = (
        _joined(_numbered(first, np.array(packed)), _numbered(second, listed))
        for first, second in zip(rows, others, strict=True)
    )
    return RequestRows(*joined), {}


def _numbered(phase: Phase, index: _Ints) -> Phase:
    """Return the phase with batches numbered as in `index`."""
    return phase._replace(column=Column(index[phase.column.batch], phase.column.at_us))


def _joined(first: Phase, second: Phase) -> Phase:
    return Phase(
        Column(
            np.concatenate([first.column.batch, second.column.batch]),
            np.concatenate([first.column.at_us, second.column.at_us]),
        ),
        np.concatenate([first.measured, second.measured]),
        np.concatenate([first.status, second.status]),
    )


def _listed(batches: Sequence[RequestBatch]) -> RequestRows:
    """Return the rows of batches that hold lists."""
    arrived, informational, responded, finished, aborted_pending, aborted_streaming = (
        column([at_us(batch) for batch in batches]) for at_us in _AT_US
    )
    return RequestRows(
        Phase(arrived),
        Phase(
            informational,
            status=values((b.informational.status for b in batches), len(informational.batch)),
        ),
        Phase(
            responded,
            values((b.responded.wait_us for b in batches), len(responded.batch)),
            values((b.responded.status for b in batches), len(responded.batch)),
        ),
        Phase(finished, values((b.finished.duration_us for b in batches), len(finished.batch))),
        Phase(aborted_pending),
        Phase(aborted_streaming),
    )


_AT_US = [attrgetter(f"{phase}.at_us") for phase in RequestRows._fields]


def _unpacked(packed: Sequence[bytes]) -> tuple[RequestRows, dict[int, InvalidMessageError]]:
    """Return the rows of packed batches, or the errors of those that cannot be read."""
    octets = np.frombuffer(b"".join(packed), np.uint8)
    tables, refused = _find_tables(octets, np.fromiter(map(len, packed), np.int64, len(packed)))
    readable = tables.where(~refused[tables.batch]) if refused.any() else tables
    rows, refused_too = _read_tables(octets, readable, len(packed))
    return rows, {index: _error_of(packed[index]) for index in np.flatnonzero(refused | refused_too).tolist()}


def _error_of(rows: bytes) -> InvalidMessageError:
    """Return why packed rows cannot be read."""
    try:
        unpack_rows(rows)
    except InvalidMessageError as error:
        return error
    # It should not be possible; but what cannot be counted must not stop the worker either.
    return bad_rows("they are readable, but not as arrays")


@dataclass(frozen=True, slots=True)
class _Tables:
    """Tables of all batches, batch by batch: of each its batch, where it begins, and what its entry says."""

    batch: _Ints
    start: _Ints
    kind: _Ints
    width: _Ints
    rows: _Ints
    usual: _Ints

    def where(self, found: NDArray[np.bool_]) -> _Tables:
        """Return some of the tables."""
        return _Tables(*(getattr(self, name)[found] for name in self.__dataclass_fields__))


def _find_tables(octets: NDArray[np.uint8], lengths: _Ints) -> tuple[_Tables, NDArray[np.bool_]]:
    """Return the tables of all batches, and which batches are refused: the tables are right if none is."""
    ends = np.cumsum(lengths)
    some = np.flatnonzero(lengths)
    starts = (ends - lengths)[some]
    tables = octets[starts].astype(np.int64)
    refused = np.zeros(len(lengths), np.bool_)
    fits = (tables >= 1) & (tables <= LAST_KIND) & (1 + ENTRY_BYTES * tables <= lengths[some])
    refused[some[~fits]] = True
    some, starts, tables = some[fits], starts[fits], tables[fits]

    batch = np.repeat(some, tables)
    number = np.arange(len(batch)) - np.repeat(np.cumsum(tables) - tables, tables)
    at = np.repeat(starts + 1, tables) + ENTRY_BYTES * number
    entry = octets[at[:, None] + np.arange(ENTRY_BYTES)].astype(np.int64)
    kind, width = entry[:, 0] >> 4, entry[:, 0] & 15
    rows = entry[:, 1] | entry[:, 2] << 8 | entry[:, 3] << 16
    before = np.where(number, np.roll(kind, 1), 0)
    wrong = (kind <= before) | (kind > LAST_KIND) | (width < 1) | (width > MAX_WIDTH) | (rows < 1)
    wrong |= _IS_EXCEPTIONS[kind] & ((before != kind - 1) | (rows > np.roll(rows, 1)))
    refused[batch[wrong]] = True
    events = np.bincount(batch, weights=_WEIGHTS[kind] * rows, minlength=len(lengths))
    refused |= events > MAX_EVENTS

    sizes = _COLUMNS[kind] * rows * width
    after = np.cumsum(sizes)
    last = np.cumsum(tables) - 1
    whole = np.diff(after[last], prepend=0)
    refused[some[whole != lengths[some] - 1 - ENTRY_BYTES * tables]] = True
    first = np.repeat(starts + 1 + ENTRY_BYTES * tables - after[last] + whole, tables)
    usual = entry[:, 4] | entry[:, 5] << 8
    return _Tables(batch, first + after - sizes, kind, width, rows, usual), refused


def _read_tables(
    octets: NDArray[np.uint8], tables: _Tables, batches: int
) -> tuple[RequestRows, NDArray[np.bool_]]:
    """Return what the tables hold, and which batches are refused."""
    refused = np.zeros(batches, np.bool_)
    of = {kind: tables.where(tables.kind == kind) for kind in range(1, LAST_KIND + 1)}
    columns = iter(_integers(octets, [(of[kind], column) for kind in of for column in range(COLUMNS[kind])]))
    found = {kind: [next(columns) for _ in range(COLUMNS[kind])] for kind in of}
    batch = {kind: np.repeat(of[kind].batch, of[kind].rows) for kind in of}

    def statuses(kind: int) -> _Ints:
        usual = np.repeat(of[kind].usual, of[kind].rows)
        row, status = found[kind + 1]
        if len(row):
            table = np.searchsorted(of[kind].batch, batch[kind + 1])
            rows = of[kind].rows[table]
            descends = (np.diff(row) <= 0) & (np.diff(table) == 0)
            refused[batch[kind + 1][1:][descends]] = True
            refused[batch[kind + 1][row >= rows]] = True
            first = np.cumsum(of[kind].rows) - of[kind].rows
            usual[first[table] + np.minimum(row, rows - 1)] = status
        refused[batch[kind][(usual < MIN_STATUS) | (usual > MAX_STATUS)]] = True
        return usual

    at_us, wait, rest = found[Kind.WHOLE]
    of_whole, waits = batch[Kind.WHOLE], wait >> 1
    durations = waits + (rest >> 1)
    status, _ = statuses(Kind.WHOLE), statuses(Kind.FINISHED)

    def joined(kind: Kind, at: _Ints, measured: _Ints, known: _Ints) -> Phase:
        own_at, own_measured = found[kind]
        rows = Column(np.concatenate([of_whole, batch[kind]]), np.concatenate([at, own_at]))
        return Phase(rows, np.concatenate([measured, own_measured]), known)

    responded = np.concatenate([status, statuses(Kind.RESPONDED)])
    phases = RequestRows(
        Phase(
            Column(
                np.concatenate([of_whole, batch[Kind.ARRIVED]]),
                np.concatenate([at_us, *found[Kind.ARRIVED]]),
            )
        ),
        Phase(
            Column(batch[Kind.INFORMATIONAL], found[Kind.INFORMATIONAL][0]),
            status=statuses(Kind.INFORMATIONAL),
        ),
        joined(Kind.RESPONDED, at_us + waits + (wait & 1), waits, responded),
        joined(Kind.FINISHED, at_us + durations + (rest & 1), durations, _NONE),
        *(
            Phase(Column(batch[kind], found[kind][0]), found[kind][1])
            for kind in (Kind.ABORTED_PENDING, Kind.ABORTED_STREAMING)
        ),
    )
    for phase in phases[2:]:
        refused[phase.column.batch[phase.measured > MAX_DURATION_US]] = True
    return phases, refused


def _integers(octets: NDArray[np.uint8], columns: Sequence[tuple[_Tables, int]]) -> list[_Ints]:
    """Return the integers of columns: of each the tables, and which column of them."""
    rows = np.concatenate([tables.rows for tables, _ in columns])
    start = np.concatenate([tables.start + column * tables.rows for tables, column in columns])
    stride = np.concatenate([_COLUMNS[tables.kind] * tables.rows for tables, _ in columns])
    width = np.concatenate([tables.width for tables, _ in columns])
    # The widest first, so that those with another plane are the first ones.
    order = np.argsort(-width, kind="stable")
    first = np.cumsum(rows[order]) - rows[order]
    at = np.repeat(start[order] - first, rows[order]) + np.arange(rows.sum())
    strides = np.repeat(stride[order], rows[order])
    planes = np.zeros((len(at), 8), np.uint8)
    for plane in range(int(width.max(initial=0))):
        has = int(rows[width > plane].sum())
        planes[:has, plane] = octets[at[:has]]
        at[:has] += strides[:has]
    place = np.empty_like(first)
    place[order] = first
    back = np.repeat(place - np.cumsum(rows) + rows, rows) + np.arange(len(at))
    integers: _Ints = planes.view("<i8")[:, 0][back].astype(np.int64, copy=False)
    return np.split(integers, np.cumsum([tables.rows.sum() for tables, _ in columns])[:-1])
