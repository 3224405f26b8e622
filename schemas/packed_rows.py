"""The rows of a packed request batch: tables of integers, as columns of bytes. See `packed_requests` for the batch.

The rows are nothing, or a byte m (1 to 11), m *entries* of 6 bytes, and in the same order the m tables that they
describe. An entry is the table's kind times 16 plus its width w (1 to 6); its number of rows n, at least 1 (3 bytes);
and the usual HTTP status of its rows (2 bytes). Kinds ascend. A table of c columns is the c * n integers of its
columns, one column after another, in w planes of c * n bytes: plane k holds byte k of each integer. The lowest byte is
first.

    kind                   columns               status
     1 whole               at_us, wait, rest     yes
     2                     row, status           rows of `whole` with another status than the usual one
     3 arrived             at_us
     4 finished            at_us, duration_us    yes
     5                     row, status           as kind 2, of `finished`
     6 responded           at_us, wait_us        yes
     7                     row, status           as kind 2, of `responded`
     8 aborted_streaming   at_us, age_us
     9 aborted_pending     at_us, age_us
    10 informational       at_us                 yes
    11                     row, status           as kind 2, of `informational`

A row of `whole` is a request that arrived, responded and finished within the batch: one row of each of these phases.
The lowest bit of `wait` and of `rest` is a rounded microsecond: the request arrived at at_us, wait_us is wait // 2 and
duration_us is wait_us + rest // 2; it responded at at_us + wait_us + wait % 2, and finished at at_us + duration_us +
rest % 2. All rows of a batch together, those of `whole` as three each and those of other statuses as none, are at most
MAX_EVENTS. The row numbers of other statuses ascend, so they are no more than the rows of the kind before.

The worker reads the rows of many messages at once: see `pipeline.core.request_rows`.
"""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import pairwise

from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.limits import MAX_DURATION_US, MAX_EVENTS, MAX_STATUS, MIN_STATUS
from endpoint_analytics.schemas.requests import Arrived, Finished, RequestBatch, Responded

MAX_WIDTH = 6
ENTRY_BYTES = 6


class Kind(IntEnum):
    """The kinds of table; one of EXCEPTIONS is about the kind before it."""

    WHOLE = 1
    ARRIVED = 3
    FINISHED = 4
    RESPONDED = 6
    ABORTED_STREAMING = 8
    ABORTED_PENDING = 9
    INFORMATIONAL = 10


EXCEPTIONS = frozenset({2, 5, 7, 11})
LAST_KIND = 11
COLUMNS = (0, 3, 2, 1, 2, 2, 2, 2, 2, 2, 1, 2, 0, 0, 0, 0)
"""The number of columns of each kind; kinds 0 and 12 to 15 do not exist."""
WEIGHTS = (0, 3, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0)
"""How many events a row of each kind is."""


def pack_rows(batch: RequestBatch) -> bytes:
    """Return a batch's rows as bytes; raises OverflowError for a number that is negative or too large."""
    if not batch.events:
        return b""
    entries, tables = bytearray(), list[bytes]()
    for kind, statuses, columns in _tables(batch):
        rows = len(columns[0])
        if not rows:
            continue
        usual = _usual(statuses) if statuses else 0
        _add(entries, tables, kind, usual, columns)
        exceptions = [row for row, status in enumerate(statuses) if status != usual]
        if exceptions:
            _add(entries, tables, kind + 1, 0, (exceptions, [statuses[row] for row in exceptions]))
    return b"".join((bytes((len(tables),)), entries, *tables))


def unpack_rows(rows: bytes) -> tuple[tuple[list[int], ...], ...]:
    """Return the columns of arrived, informational, responded, finished, aborted_pending and aborted_streaming.

    The rows of each are in order of time. Raises InvalidMessageError.
    """
    columns: dict[Kind, list[list[int]]] = {kind: [[] for _ in range(COLUMNS[kind])] for kind in Kind}
    statuses: dict[int, list[int]] = {kind: [] for kind in Kind}
    for kind, usual, found in _read_tables(rows):
        if kind in EXCEPTIONS:
            _except(statuses[kind - 1], *found)
        else:
            columns[Kind(kind)] = found
            statuses[kind] = [usual] * len(found[0])
    at_us, waits, rests = columns[Kind.WHOLE]
    durations = [wait // 2 + rest // 2 for wait, rest in zip(waits, rests, strict=True)]
    done = [at + duration + rest % 2 for at, duration, rest in zip(at_us, durations, rests, strict=True)]
    answered = [at + wait // 2 + wait % 2 for at, wait in zip(at_us, waits, strict=True)]
    waits = [wait // 2 for wait in waits]
    of_whole = statuses[Kind.WHOLE]
    [arrived] = columns[Kind.ARRIVED]
    [interim] = columns[Kind.INFORMATIONAL]
    phases = (
        (at_us + arrived,),
        (interim, statuses[Kind.INFORMATIONAL]),
        _joined((answered, waits, of_whole), (*columns[Kind.RESPONDED], statuses[Kind.RESPONDED])),
        _joined((done, durations, of_whole), (*columns[Kind.FINISHED], statuses[Kind.FINISHED])),
        tuple(columns[Kind.ABORTED_PENDING]),
        tuple(columns[Kind.ABORTED_STREAMING]),
    )
    for kind in (Kind.WHOLE, Kind.FINISHED, Kind.RESPONDED, Kind.INFORMATIONAL):
        for status in statuses[kind]:
            if not MIN_STATUS <= status <= MAX_STATUS:
                raise bad_rows(f"a status is {status}; expected {MIN_STATUS} to {MAX_STATUS}")
    for _, measured, *_ in phases[2:]:
        if measured and max(measured) > MAX_DURATION_US:
            raise bad_rows(f"a duration is {max(measured)} us; the limit is {MAX_DURATION_US}")
    return tuple(_by_time(*phase) for phase in phases)


def bad_rows(what: str) -> InvalidMessageError:
    """Return the error of a batch whose rows are not as described above."""
    return InvalidMessageError("wrong_shape", f"rows: {what}")


def _tables(batch: RequestBatch) -> Iterator[tuple[int, list[int], Sequence[list[int]]]]:
    """Yield the kind, the statuses and the columns of each table, also of empty ones."""
    arrived, responded, finished = batch.arrived, batch.responded, batch.finished
    whole = _find_whole(batch)
    if whole:
        at_us = [arrived.at_us[row] for row, _, _ in whole]
        waits = [
            2 * responded.wait_us[row] + responded.at_us[row] - at - responded.wait_us[row]
            for at, (_, row, _) in zip(at_us, whole, strict=True)
        ]
        rests = [
            2 * (finished.duration_us[row] - responded.wait_us[before])
            + (finished.at_us[row] - at - finished.duration_us[row])
            for at, (_, before, row) in zip(at_us, whole, strict=True)
        ]
        yield Kind.WHOLE, [responded.status[row] for _, row, _ in whole], (at_us, waits, rests)
        came, answered, done = (set(each) for each in zip(*whole, strict=True))
        arrived = Arrived(*_without(came, arrived.at_us))
        responded = Responded(*_without(answered, responded.at_us, responded.wait_us, responded.status))
        finished = Finished(*_without(done, finished.at_us, finished.duration_us, finished.status))
    pending, streaming, interim = batch.aborted_pending, batch.aborted_streaming, batch.informational
    yield Kind.ARRIVED, [], (arrived.at_us,)
    yield Kind.FINISHED, finished.status, (finished.at_us, finished.duration_us)
    yield Kind.RESPONDED, responded.status, (responded.at_us, responded.wait_us)
    yield Kind.ABORTED_STREAMING, [], (streaming.at_us, streaming.age_us)
    yield Kind.ABORTED_PENDING, [], (pending.at_us, pending.age_us)
    yield Kind.INFORMATIONAL, interim.status, (interim.at_us,)


def _find_whole(batch: RequestBatch) -> list[tuple[int, int, int]]:
    """Return the rows in arrived, responded and finished of requests that went through all three."""
    responded, finished = batch.responded, batch.finished
    if not responded.at_us or not finished.at_us:
        return []
    # When each arrived, or a microsecond later: each time is rounded down by itself.
    answered = _by_arrival(responded.at_us, responded.wait_us)
    done = _by_arrival(finished.at_us, finished.duration_us)
    whole = []
    for row, at_us in enumerate(batch.arrived.at_us):
        came = at_us if at_us in answered else at_us + 1
        ended = at_us if at_us in done else at_us + 1
        if came not in answered or ended not in done:
            continue
        before, last = answered[came], done[ended]
        if (
            responded.status[before] == finished.status[last]
            and responded.wait_us[before] <= finished.duration_us[last]
        ):
            whole.append((row, before, last))
            # Each row once: another arrival of the same microsecond is sent by itself.
            del answered[came], done[ended]
    return whole


def _by_arrival(at_us: Sequence[int], since_arrival_us: Sequence[int]) -> dict[int, int]:
    return {at - since: row for row, (at, since) in enumerate(zip(at_us, since_arrival_us, strict=True))}


def _without(rows: set[int], *columns: list[int]) -> list[list[int]]:
    return [[value for row, value in enumerate(column) if row not in rows] for column in columns]


def _usual(statuses: Sequence[int]) -> int:
    first = statuses[0]
    if statuses.count(first) == len(statuses):
        return first
    return Counter(statuses).most_common(1)[0][0]


def _add(
    entries: bytearray, tables: list[bytes], kind: int, usual: int, columns: Sequence[Sequence[int]]
) -> None:
    """Add a table and its entry."""
    numbers = array("Q")
    for column in columns:
        numbers.extend(column)
    width = max((max(numbers).bit_length() + 7) // 8, 1)
    if width > MAX_WIDTH:
        raise OverflowError(f"{max(numbers)} has more than {MAX_WIDTH} bytes")
    if sys.byteorder == "big":
        numbers.byteswap()
    octets = numbers.tobytes()
    tables.append(b"".join([octets[plane::8] for plane in range(width)]))
    entries += (
        bytes((kind << 4 | width,)) + len(columns[0]).to_bytes(3, "little") + usual.to_bytes(2, "little")
    )


def _read_tables(rows: bytes) -> Iterator[tuple[int, int, list[list[int]]]]:
    """Yield the kind, the usual status and the columns of each table; raises InvalidMessageError."""
    if not rows:
        return
    at = 1 + ENTRY_BYTES * rows[0]
    if not 1 <= rows[0] <= LAST_KIND or at > len(rows):
        raise bad_rows(f"{rows[0]} tables in {len(rows)} bytes; expected 1 to {LAST_KIND}")
    entries = [
        (
            rows[first] >> 4,
            rows[first] & 15,
            int.from_bytes(rows[first + 1 : first + 4], "little"),
            int.from_bytes(rows[first + 4 : first + 6], "little"),
        )
        for first in range(1, at, ENTRY_BYTES)
    ]
    events = sum(WEIGHTS[kind] * count for kind, _, count, _ in entries)
    if events > MAX_EVENTS:
        raise InvalidMessageError("too_many_events", f"{events} events; the limit per batch is {MAX_EVENTS}")
    before = rows_before = 0
    for kind, width, count, usual in entries:
        if not before < kind <= LAST_KIND or (kind in EXCEPTIONS and before != kind - 1):
            raise bad_rows(f"a table of kind {kind} after one of kind {before}")
        if kind in EXCEPTIONS and count > rows_before:
            raise bad_rows(f"other statuses of {count} rows; there are {rows_before}")
        if not 1 <= width <= MAX_WIDTH or not count:
            raise bad_rows(
                f"a table of {count} rows of {width} bytes; expected 1 row, 1 to {MAX_WIDTH} bytes"
            )
        numbers = COLUMNS[kind] * count
        octets = bytearray(8 * numbers)
        if at + width * numbers > len(rows):
            raise bad_rows("they end within a table")
        for plane in range(width):
            octets[plane::8] = rows[at + plane * numbers : at + (plane + 1) * numbers]
        found = array("Q")
        found.frombytes(octets)
        if sys.byteorder == "big":
            found.byteswap()
        yield kind, usual, [found[first : first + count].tolist() for first in range(0, numbers, count)]
        at += width * numbers
        before, rows_before = kind, count
    if at != len(rows):
        raise bad_rows(f"{len(rows) - at} bytes after the last table")


def _except(statuses: list[int], rows: list[int], exceptions: list[int]) -> None:
    if any(first >= second for first, second in pairwise(rows)):
        raise bad_rows("the row numbers of other statuses do not ascend")
    for row, status in zip(rows, exceptions, strict=True):
        if row >= len(statuses):
            raise bad_rows(f"another status of row {row}; there are {len(statuses)} rows")
        statuses[row] = status


def _joined(first: Sequence[list[int]], second: Sequence[list[int]]) -> tuple[list[int], ...]:
    return tuple(one + other for one, other in zip(first, second, strict=True))


def _by_time(at_us: list[int], *columns: list[int]) -> tuple[list[int], ...]:
    if all(first <= second for first, second in pairwise(at_us)):
        return at_us, *columns
    order = sorted(range(len(at_us)), key=at_us.__getitem__)
    return tuple([column[row] for row in order] for column in (at_us, *columns))
