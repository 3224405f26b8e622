"""The fold of samples from hardware and serving engine batches: by metric, device and window.

Readings are folded as integer thousandths of their unit, so that sums do not depend on how the log was divided into
reads. All readings of a read are folded at once: a message has few of each series, and many series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.pipeline.core.batches import WINDOW_US
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.core.row_block import Column, RowBlock, Times
from endpoint_analytics.pipeline.core.rows import Chunk, identity, origin, window_starts
from endpoint_analytics.pipeline.core.windows import grow
from endpoint_analytics.schemas.engine import EngineBatch
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.hardware import HardwareBatch

_Ints = NDArray[np.int64]
_EMPTY: _Ints = np.empty(0, np.int64)
_THOUSANDTHS = 1000

MAX_SERIES = 1_000
"""Maximum number of (device, metric) pairs of one boot in one chunk."""

SampleBatch = HardwareBatch | EngineBatch
Accepted = tuple[BootKey, SampleBatch, int]
"""A batch to be counted: its boot, the batch, its offset in the Kafka log."""

_COLUMNS = ("version", "samples", "sum_high", "sum_low", "min", "max", "last", "last_us")
_NO_READING = {"min": np.iinfo(np.int64).max, "max": np.iinfo(np.int64).min}
_HIGH_BITS = 30
"""A sum is kept in two parts, so that no readings can make it overflow: sum_high * 2**30 + sum_low."""
_SERIES_BITS = 31
_EXACT = 2**53
"""Integers below this are exact as floats."""


_OF_REPLICA: Mapping[str, str] = {"device_uuid": "", "device_name": ""}


class _Part(NamedTuple):
    """The series of one device of a batch: their metrics, and what else the table says of them."""

    device: str
    readings: Mapping[str, Sequence[float | None]]
    about: Mapping[str, str]


def _parts(batch: SampleBatch) -> list[_Part]:
    if isinstance(batch, EngineBatch):
        return [_Part("", batch.readings, {"engine": batch.engine})]
    return [
        _Part("", batch.replica, _OF_REPLICA),
        *(
            _Part(each.device, each.readings, {"device_uuid": each.uuid, "device_name": each.name})
            for each in batch.accelerators
        ),
    ]


@dataclass(slots=True)
class _BootSeries:
    """The numbers of a boot's series, and those of its newest batch, whose series are nearly always the same."""

    numbers: dict[tuple[str, str], int]
    layout: list[tuple[str, ...]]
    newest: _Ints


class SampleWindows:
    """The open chunk's samples, for rows of `table`."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._boots: dict[BootKey, _BootSeries] = {}
        self._series: list[tuple[BootKey, str, str]] = []
        # Of each row: its window and series as one sorted number, and the row.
        self._places, self._rows = _EMPTY, _EMPTY
        self._windows: list[int] = []
        self._row_series: list[int] = []
        self._about: list[Mapping[str, str]] = []
        self._columns = dict.fromkeys(_COLUMNS, _EMPTY)
        self._dirty: list[_Ints] = []

    def fold(self, batches: Sequence[Accepted]) -> list[int | InvalidMessageError]:
        """Fold batches, in the order of the log; returns the number of readings of each.

        A batch whose boot would exceed MAX_SERIES is not folded: its error is returned.
        """
        folded: list[int | InvalidMessageError] = []
        found: list[tuple[SampleBatch, list[_Part], _Ints]] = []
        offsets: list[int] = []
        for key, batch, offset in batches:
            parts = _parts(batch)
            try:
                series = self._series_of(key, parts)
            except InvalidMessageError as error:
                folded.append(error)
            else:
                folded.append(len(found))
                found.append((batch, parts, series))
                offsets.append(offset)
        counts = self._fold(found, offsets) if found else []
        return [each if isinstance(each, InvalidMessageError) else counts[each] for each in folded]

    def _series_of(self, key: BootKey, parts: Sequence[_Part]) -> _Ints:
        """Return the numbers of a batch's series; raises InvalidMessageError if a boot would have too many."""
        layout = [(part.device, *part.readings) for part in parts]
        boot = self._boots.get(key)
        if boot is not None and boot.layout == layout:
            return boot.newest
        series = [(part.device, metric) for part in parts for metric in part.readings]
        known = {} if boot is None else boot.numbers
        new = dict.fromkeys(each for each in series if each not in known)
        if len(known) + len(new) > MAX_SERIES:
            raise InvalidMessageError(
                "too_many_series",
                f"{len(new)} new pairs of device and metric in addition to {len(known)}; "
                f"a replica may have {MAX_SERIES} in {WINDOW_US // 1_000_000} s",
            )
        for each in new:
            known[each] = len(self._series)
            self._series.append((key, *each))
        newest = np.array([known[each] for each in series], np.int64)
        self._boots[key] = _BootSeries(known, layout, newest)
        return newest

    def _fold(
        self, found: Sequence[tuple[SampleBatch, list[_Part], _Ints]], offsets: Sequence[int]
    ) -> list[int]:
        # A piece is one series of one batch: as many readings as the batch has times.
        batches = np.arange(len(found))
        pieces = np.fromiter((len(series) for _, _, series in found), np.int64, len(found))
        times = np.fromiter((len(batch.at_us) for batch, _, _ in found), np.int64, len(found))
        piece_batch = np.repeat(batches, pieces)
        lengths = times[piece_batch]
        batch = np.repeat(piece_batch, lengths)
        series = np.repeat(np.concatenate([each for _, _, each in found]), lengths)
        number = np.arange(len(batch)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        at_us = np.fromiter(chain.from_iterable(b.at_us for b, _, _ in found), np.int64, int(times.sum()))
        start_us = np.fromiter((b.start_us for b, _, _ in found), np.int64, len(found))
        at_us = start_us[batch] + at_us[(np.cumsum(times) - times)[batch] + number]
        readings = np.array(list(_readings_of(found)), np.float64)

        given = np.flatnonzero(~np.isnan(readings))  # None is no reading
        if not len(given):
            return [0] * len(found)
        batch, series, at_us = batch[given], series[given], at_us[given]
        thousandths = np.rint(readings[given] * _THOUSANDTHS).astype(np.int64)
        rows = self._rows_of(series, at_us // WINDOW_US, found, batch)
        self._merge(rows, at_us, thousandths, np.array(offsets, np.int64)[batch])
        counts: list[int] = np.bincount(batch, minlength=len(found)).tolist()
        return counts

    def _rows_of(
        self,
        series: _Ints,
        windows: _Ints,
        found: Sequence[tuple[SampleBatch, list[_Part], _Ints]],
        batch: _Ints,
    ) -> _Ints:
        """Return the rows of readings; the first one of a new row determines what else the table says of it."""
        places = windows << _SERIES_BITS | series
        at = np.searchsorted(self._places, places)
        is_known = at < len(self._places)
        is_known[is_known] = self._places[at[is_known]] == places[is_known]
        if not is_known.all():
            unknown = np.flatnonzero(~is_known)
            new, first = np.unique(places[unknown], return_index=True)
            row = len(self._windows)
            for reading in unknown[first].tolist():
                number = int(series[reading])
                self._windows.append(int(windows[reading]))
                self._row_series.append(number)
                self._about.append(_about(found[int(batch[reading])][1], self._series[number][1]))
            where = np.searchsorted(self._places, new)
            self._places = np.insert(self._places, where, new)
            self._rows = np.insert(self._rows, where, np.arange(row, row + len(new)))
            at = np.searchsorted(self._places, places)
        rows: _Ints = self._rows[at]
        return rows

    def _merge(self, rows: _Ints, at_us: _Ints, readings: _Ints, offsets: _Ints) -> None:
        grow(self._columns, len(self._windows), _NO_READING)
        order = np.lexsort((at_us, rows))  # stable: of those at one time, the last one of the log is last
        rows, at_us, readings, offsets = rows[order], at_us[order], readings[order], offsets[order]
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        last = np.append(starts[1:], len(rows)) - 1
        changed, columns = rows[starts], self._columns
        columns["samples"][changed] += last - starts + 1
        columns["sum_high"][changed] += np.add.reduceat(readings >> _HIGH_BITS, starts)
        columns["sum_low"][changed] += np.add.reduceat(readings & ((1 << _HIGH_BITS) - 1), starts)
        for name, reduce, values in (
            ("version", np.maximum, offsets),
            ("max", np.maximum, readings),
            ("min", np.minimum, readings),
        ):
            columns[name][changed] = reduce(columns[name][changed], reduce.reduceat(values, starts))
        newer = at_us[last] >= columns["last_us"][changed]
        columns["last"][changed[newer]] = readings[last[newer]]
        columns["last_us"][changed[newer]] = at_us[last[newer]]
        self._dirty.append(changed)

    def take_block(self, chunk: Chunk) -> RowBlock | None:
        """Return the table's rows that changed since the last call."""
        if not self._dirty:
            return None
        rows = np.unique(np.concatenate(self._dirty))
        self._dirty.clear()
        numbers = rows.tolist()
        series = [self._series[self._row_series[row]] for row in numbers]
        about = [self._about[row] for row in numbers]
        found = {name: column[rows] for name, column in self._columns.items()}
        columns: dict[str, Column] = {
            **identity([key for key, _, _ in series]),
            "device": [device for _, device, _ in series],
            "metric": [metric for _, _, metric in series],
            "window_start": window_starts([self._windows[row] for row in numbers]),
            **origin(chunk, len(numbers)),
            "version": found["version"].astype(np.uint64),
            "samples": found["samples"].astype(np.uint64),
            "sum": _sums(found["sum_high"], found["sum_low"]),
            "min": _units(found["min"]),
            "max": _units(found["max"]),
            "last": _units(found["last"]),
            "last_at": Times(found["last_us"], 6),
        }
        for name in about[0]:
            columns[name] = [each[name] for each in about]
        return RowBlock(self._table, len(numbers), columns)


def _readings_of(found: Sequence[tuple[SampleBatch, list[_Part], _Ints]]) -> Iterator[float | None]:
    for _, parts, _ in found:
        for part in parts:
            for column in part.readings.values():
                yield from column


def _about(parts: Sequence[_Part], device: str) -> Mapping[str, str]:
    """Return what else is said of a device."""
    return next(part.about for part in parts if part.device == device)


def _sums(high: _Ints, low: _Ints) -> NDArray[np.float64]:
    """Return sums of thousandths as units: exactly, however large."""
    high, low = high + (low >> _HIGH_BITS), low & ((1 << _HIGH_BITS) - 1)
    small = np.abs(high) < 1 << (62 - _HIGH_BITS)
    units = _units(np.where(small, high, 0) << _HIGH_BITS | low)
    for row in np.flatnonzero(~small).tolist():
        units[row] = ((int(high[row]) << _HIGH_BITS) + int(low[row])) / _THOUSANDTHS
    return units


def _units(thousandths: _Ints) -> NDArray[np.float64]:
    """Return thousandths as units, each the nearest float."""
    units: NDArray[np.float64] = thousandths / float(_THOUSANDTHS)
    for row in np.flatnonzero(np.abs(thousandths) >= _EXACT).tolist():
        units[row] = int(thousandths[row]) / _THOUSANDTHS
    return units
