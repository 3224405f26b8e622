"""The fold of samples from hardware and serving engine batches: by metric, device and window.

Readings are folded as integer thousandths of their unit, so that sums do not depend on how the log was divided into
reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from endpoint_analytics.pipeline.core.batches import WINDOW_US
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.core.row_block import Column, RowBlock, Times
from endpoint_analytics.pipeline.core.rows import Chunk, identity, origin, window_starts
from endpoint_analytics.schemas.engine import EngineBatch
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.hardware import HardwareBatch

_THOUSANDTHS = 1000

MAX_SERIES = 1_000
"""Maximum number of (device, metric) pairs of one boot in one chunk."""


class WindowSeries(NamedTuple):
    """One metric's column in a batch, and additional table columns, which the first sample determines."""

    device: str
    metric: str
    readings: Sequence[float | None]
    about: Mapping[str, str]


def series_of(batch: HardwareBatch | EngineBatch) -> Iterator[WindowSeries]:
    """Return the columns of a batch."""
    if isinstance(batch, EngineBatch):
        about: Mapping[str, str] = {"engine": batch.engine}
        yield from _columns("", batch.readings, about)
        return
    yield from _columns("", batch.replica, {"device_uuid": "", "device_name": ""})
    for each in batch.accelerators:
        yield from _columns(each.device, each.readings, {"device_uuid": each.uuid, "device_name": each.name})


def _columns(
    device: str, readings: Mapping[str, Sequence[float | None]], about: Mapping[str, str]
) -> Iterable[WindowSeries]:
    return (WindowSeries(device, metric, column, about) for metric, column in readings.items())


@dataclass(slots=True)
class Samples:
    """The samples of one device and metric in one window, in thousandths of the metric's unit."""

    about: Mapping[str, str]
    version: int = 0
    samples: int = 0
    sum: int = 0
    min: int = 0
    max: int = 0
    last: int = 0
    last_us: int = 0

    def add(self, reading: int, at_us: int, offset: int) -> None:
        """Add a reading taken at `at_us` from the message at `offset`."""
        if self.samples == 0:
            self.min = self.max = reading
        self.min = min(self.min, reading)
        self.max = max(self.max, reading)
        if at_us >= self.last_us:
            self.last, self.last_us = reading, at_us
        self.samples += 1
        self.sum += reading
        self.version = max(self.version, offset)


_Key = tuple[BootKey, str, str, int]  # boot, device, metric, window


class SampleWindows:
    """The open chunk's samples, for rows of `table`."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._samples: dict[_Key, Samples] = {}
        self._dirty: dict[_Key, Samples] = {}
        self._series: dict[BootKey, set[tuple[str, str]]] = {}

    def fold(self, key: BootKey, batch: HardwareBatch | EngineBatch, offset: int) -> int:
        """Fold a batch; returns its number of readings.

        Raises InvalidMessageError, and folds nothing, if the boot would exceed MAX_SERIES.
        """
        found = list(series_of(batch))
        self._admit(key, {(series.device, series.metric) for series in found})
        count = 0
        for series in found:
            for at_us, reading in zip(batch.at_us, series.readings, strict=True):
                if reading is None:
                    continue
                at = batch.start_us + at_us
                window_key = (key, series.device, series.metric, at // WINDOW_US)
                samples = self._samples.get(window_key)
                if samples is None:
                    samples = self._samples[window_key] = Samples(series.about)
                samples.add(round(reading * _THOUSANDTHS), at, offset)
                self._dirty[window_key] = samples
                count += 1
        return count

    def _admit(self, key: BootKey, series: set[tuple[str, str]]) -> None:
        known = self._series.setdefault(key, set())
        if len(known | series) > MAX_SERIES:
            raise InvalidMessageError(
                "too_many_series",
                f"{len(series - known)} new pairs of device and metric in addition to {len(known)}; "
                f"a replica may have {MAX_SERIES} in {WINDOW_US // 1_000_000} s",
            )
        known |= series

    def take_block(self, chunk: Chunk) -> RowBlock | None:
        """Return the table's rows that changed since the last call."""
        if not self._dirty:
            return None
        keys, changed = list(self._dirty), list(self._dirty.values())
        self._dirty.clear()
        count = len(keys)
        columns: dict[str, Column] = {
            **identity([boot for boot, _, _, _ in keys]),
            "device": [device for _, device, _, _ in keys],
            "metric": [metric for _, _, metric, _ in keys],
            "window_start": window_starts([window for _, _, _, window in keys]),
            **origin(chunk, count),
            "version": np.fromiter((each.version for each in changed), np.uint64, count),
            "samples": np.fromiter((each.samples for each in changed), np.uint64, count),
            "sum": _readings([each.sum for each in changed]),
            "min": _readings([each.min for each in changed]),
            "max": _readings([each.max for each in changed]),
            "last": _readings([each.last for each in changed]),
            "last_at": Times(np.fromiter((each.last_us for each in changed), np.int64, count), 6),
        }
        for name in changed[0].about:
            columns[name] = [each.about[name] for each in changed]
        return RowBlock(self._table, count, columns)


def _readings(thousandths: list[int]) -> NDArray[np.float64]:
    return np.array([each / _THOUSANDTHS for each in thousandths], np.float64)
