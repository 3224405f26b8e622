"""GPU: what the NVIDIA driver's management library tells of each GPU. One GPU's error is a null, no more.

Without a driver or a GPU that is said once in the log, and the collector is empty from then on. A GPU that falls
silent is looked for again from time to time; one that was taken away is then no longer listed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from endpoint_analytics.agents.hardware.gpu_errors import XidEvents
from endpoint_analytics.agents.hardware.gpu_find import Gpu, find_gpus
from endpoint_analytics.agents.hardware.gpu_library import value_of
from endpoint_analytics.agents.hardware.gpu_share import (
    is_own,
    knows_processes,
    read_memory_bytes,
    read_percent,
)
from endpoint_analytics.agents.hardware.reading import Delta, Reading
from endpoint_analytics.schemas import metrics as m
from endpoint_analytics.schemas.hardware import Accelerator

logger = logging.getLogger("endpoint_analytics")

LOOK_AGAIN_AFTER = 10
"""Samples of a silent GPU after which all are looked for anew."""

# Bits of nvmlClocksEventReasons (nvml.h). Idle, applications' own settings and sync boost hold nothing down.
_THERMAL = 0x20 | 0x40
_POWER = 0x4 | 0x80
_THROTTLED = _THERMAL | _POWER | 0x8

_CORRECTED, _UNCORRECTED, _VOLATILE = 0, 1, 0


@dataclass(slots=True)
class _Memory:
    """What is remembered of one GPU between two samples."""

    corrected: Delta = field(default_factory=Delta)
    uncorrected: Delta = field(default_factory=Delta)
    processes_until_us: int = 0


@dataclass(slots=True)
class GpuCollector:
    """The GPUs that the driver shows to this process and CUDA_VISIBLE_DEVICES does not hide."""

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    own: Callable[[int], bool] | None = field(default_factory=lambda: is_own if knows_processes() else None)
    _gpus: tuple[Gpu, ...] | None = None
    _known: dict[str, str] = field(default_factory=dict)
    _memory: dict[str, _Memory] = field(default_factory=dict)
    _xids: XidEvents | None = None
    _silent: int = 0

    def collect(self, at_ns: int) -> Reading:  # noqa: ARG002  # the Collector's signature
        """Return one accelerator for each GPU and MIG instance, `gpu0` first."""
        if self._gpus is None:
            self._gpus = self._find()
        elif self._silent >= LOOK_AGAIN_AFTER:
            self._silent = 0
            self._gpus = self._find_again(self._gpus)
        xids = self._xids.read() if self._xids is not None else {}
        accelerators = tuple(self._read(gpu, xids.get(gpu.device)) for gpu in self._gpus)
        silent = any(all(value == [None] for value in a.readings.values()) for a in accelerators)
        self._silent = self._silent + 1 if silent else 0
        return Reading(accelerators=accelerators)

    def _find(self) -> tuple[Gpu, ...]:
        try:
            import pynvml
        except ImportError as error:
            logger.info("no GPU figures: %s (they come with the package nvidia-ml-py)", error)
            return ()
        try:
            pynvml.nvmlInit()
            gpus = find_gpus(self.environment, self._known)
        except pynvml.NVMLError as error:
            logger.info("no GPU figures: the NVIDIA management library says: %s", error)
            return ()
        if not gpus:
            logger.info("no GPU figures: the NVIDIA driver shows no GPU, or CUDA_VISIBLE_DEVICES hides all")
        self._known.update({gpu.uuid: gpu.device for gpu in gpus if gpu.uuid and not gpu.is_instance})
        self._xids = XidEvents({gpu.device: gpu.handle for gpu in gpus if not gpu.is_instance})
        return gpus

    def _find_again(self, before: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
        """Begin anew with the library: the handles of before mean nothing any more."""
        if self._xids is not None:
            self._xids.close()
            self._xids = None
        value_of("nvmlShutdown")
        gpus = self._find()
        for gone in sorted({gpu.device for gpu in before} - {gpu.device for gpu in gpus}):
            logger.warning("%s is gone", gone)
        return gpus

    def _read(self, gpu: Gpu, xids: int | None) -> Accelerator:
        readings = read_memory(gpu)
        if not gpu.is_instance:
            readings |= read_whole(gpu)
            remembered = self._memory.setdefault(gpu.device, _Memory())
            corrected = value_of("nvmlDeviceGetTotalEccErrors", gpu.handle, _CORRECTED, _VOLATILE)
            uncorrected = value_of("nvmlDeviceGetTotalEccErrors", gpu.handle, _UNCORRECTED, _VOLATILE)
            readings[m.GPU_ECC_CORRECTED_ERRORS.name] = remembered.corrected.since_last(corrected)
            readings[m.GPU_ECC_UNCORRECTED_ERRORS.name] = remembered.uncorrected.since_last(uncorrected)
            # A GPU that says nothing at all has no count of errors either.
            heard = any(value is not None for value in readings.values())
            readings[m.GPU_XID_ERRORS.name] = xids if heard or xids else None
            if self.own is not None:
                percent, until_us = read_percent(gpu.handle, remembered.processes_until_us, self.own)
                remembered.processes_until_us = until_us
                readings[m.GPU_REPLICA_PERCENT.name] = percent
        if self.own is not None:
            readings[m.GPU_REPLICA_MEMORY_USED_BYTES.name] = read_memory_bytes(gpu.handle, self.own)
        return Accelerator(
            device=gpu.device,
            uuid=gpu.uuid,
            name=gpu.name,
            readings={name: [value] for name, value in readings.items()},
        )


def read_memory(gpu: Gpu) -> dict[str, float | None]:
    """Return memory and use; of a GPU that is cut into instances neither, since they have it."""
    if gpu.has_instances:
        return {}
    memory = value_of("nvmlDeviceGetMemoryInfo", gpu.handle)
    use = value_of("nvmlDeviceGetUtilizationRates", gpu.handle)
    return {
        m.GPU_PERCENT.name: None if use is None else float(use.gpu),
        m.GPU_MEMORY_USED_BYTES.name: None if memory is None else float(memory.used),
        m.GPU_MEMORY_TOTAL_BYTES.name: None if memory is None else float(memory.total),
    }


def read_whole(gpu: Gpu) -> dict[str, float | None]:
    """Return what belongs to the whole GPU: power, temperature and clocks."""
    milliwatts = value_of("nvmlDeviceGetPowerUsage", gpu.handle)
    celsius = value_of("nvmlDeviceGetTemperature", gpu.handle, 0)
    reasons: Any = value_of("nvmlDeviceGetCurrentClocksEventReasons", gpu.handle)
    if reasons is None:  # drivers before 535 have the older name
        reasons = value_of("nvmlDeviceGetCurrentClocksThrottleReasons", gpu.handle)

    def held_down(bits: int) -> float | None:
        return None if reasons is None else float(bool(reasons & bits))

    return {
        m.GPU_POWER_WATTS.name: None if milliwatts is None else milliwatts / 1_000,
        m.GPU_TEMPERATURE_CELSIUS.name: None if celsius is None else float(celsius),
        m.GPU_THROTTLED_RATIO.name: held_down(_THROTTLED),
        m.GPU_THROTTLED_THERMAL_RATIO.name: held_down(_THERMAL),
        m.GPU_THROTTLED_POWER_RATIO.name: held_down(_POWER),
    }
