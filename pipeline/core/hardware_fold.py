"""The fold of hardware batches: samples of each device and metric, by window.

Readings are folded in thousandths of their unit, as integers, so that a sum does not depend on how the log
was cut into reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from endpoint_analytics.pipeline.core.batches import WINDOW_US
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.core.rows import Place, Row, identity, seconds6, window_start_s
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.hardware import HardwareBatch

_THOUSANDTHS = 1000


@dataclass(slots=True)
class Samples:
    """The samples of one device and metric in one window, in thousandths of the metric's unit."""

    uuid: str
    name: str
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


MAX_SERIES = 1_000
"""Devices times metrics of one boot in one chunk."""

_Key = tuple[BootKey, str, str, int]  # boot, device, metric, window


class HardwareWindows:
    """The open chunk's samples."""

    def __init__(self) -> None:
        self._samples: dict[_Key, Samples] = {}
        self._dirty: dict[_Key, Samples] = {}
        self._series: dict[BootKey, set[tuple[str, str]]] = {}

    def fold(self, key: BootKey, batch: HardwareBatch, offset: int) -> int:
        """Fold a batch; returns the number of readings it held.

        Raises InvalidMessageError, and folds nothing, when the boot would get more than MAX_SERIES.
        """
        self._admit(key, {(device, metric) for device, _, _, metric, _ in _series(batch)})
        count = 0
        for device, uuid, name, metric, readings in _series(batch):
            for at_us, reading in zip(batch.at_us, readings, strict=True):
                if reading is None:
                    continue
                at = batch.start_us + at_us
                place = (key, device, metric, at // WINDOW_US)
                samples = self._samples.get(place)
                if samples is None:
                    samples = self._samples[place] = Samples(uuid, name)
                samples.add(round(reading * _THOUSANDTHS), at, offset)
                self._dirty[place] = samples
                count += 1
        return count

    def _admit(self, key: BootKey, series: set[tuple[str, str]]) -> None:
        known = self._series.setdefault(key, set())
        if len(known | series) > MAX_SERIES:
            raise InvalidMessageError(
                "too_many_series",
                f"{len(series - known)} new pairs of device and metric beside {len(known)}; "
                f"a replica takes {MAX_SERIES} in {WINDOW_US // 1_000_000} s",
            )
        known |= series

    def take_rows(self, place: Place) -> list[Row]:
        """Return the rows of `hardware_windows` that changed since the last call."""
        rows = [_row(place, key, samples) for key, samples in self._dirty.items()]
        self._dirty.clear()
        return rows


def _series(batch: HardwareBatch) -> Iterator[tuple[str, str, str, str, list[float | None]]]:
    for metric, readings in batch.replica.items():
        yield "", "", "", metric, readings
    for accelerator in batch.accelerators:
        for metric, readings in accelerator.readings.items():
            yield accelerator.device, accelerator.uuid, accelerator.name, metric, readings


def _row(place: Place, key: _Key, samples: Samples) -> Row:
    boot, device, metric, window = key
    row = identity(boot)
    row |= {
        "device": device,
        "device_uuid": samples.uuid,
        "device_name": samples.name,
        "metric": metric,
        "window_start": window_start_s(window),
        "partition": place.partition,
        "chunk": place.chunk.offset,
        "version": samples.version,
        "samples": samples.samples,
        "sum": samples.sum / _THOUSANDTHS,
        "min": samples.min / _THOUSANDTHS,
        "max": samples.max / _THOUSANDTHS,
        "last": samples.last / _THOUSANDTHS,
        "last_at": seconds6(samples.last_us),
    }
    return Row("hardware_windows", row)
