"""NVIDIA GPUs: readings from NVML, the driver's management library, through `pynvml` (nvidia-ml-py).

docs.nvidia.com/deploy/nvml-api. The replica's own usage: `gpu_nvidia_share`; critical errors: `gpu_nvidia_errors`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from endpoint_analytics.agents.hardware.gpu_nvidia_find import find_gpus
from endpoint_analytics.agents.hardware.gpu_nvidia_library import value_of
from endpoint_analytics.agents.hardware.gpu_nvidia_share import (
    is_own,
    knows_processes,
    read_memory_bytes,
    read_percent,
)
from endpoint_analytics.agents.hardware.gpu_nvidia_xid import XidEvents
from endpoint_analytics.agents.hardware.gpu_vendor import Gpu, NoGpusError
from endpoint_analytics.schemas import metrics as m

# Bits of nvmlClocksEventReasons (nvml.h). Idle, application clock settings and sync boost are not throttling.
_THERMAL = 0x20 | 0x40
_POWER = 0x4 | 0x80
_THROTTLED = _THERMAL | _POWER | 0x8

_CORRECTED, _UNCORRECTED, _VOLATILE = 0, 1, 0


@dataclass(slots=True)
class NvidiaGpus:
    """The GPUs that the driver shows to this process and CUDA_VISIBLE_DEVICES does not hide."""

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    own: Callable[[int], bool] | None = field(default_factory=lambda: is_own if knows_processes() else None)
    name: str = "NVIDIA"
    _xids: XidEvents | None = None
    _xid_counts: Counter[str] = field(default_factory=Counter)
    _processes_until_us: dict[str, int] = field(default_factory=dict)

    def find(self, known: Mapping[str, str]) -> tuple[Gpu, ...]:
        """Return the GPUs and MIG instances."""
        try:
            import pynvml
        except ImportError as error:
            raise NoGpusError(f"{error} (it comes with the package nvidia-ml-py)") from error
        try:
            pynvml.nvmlInit()
            gpus = find_gpus(self.environment, known)
        except pynvml.NVMLError as error:
            raise NoGpusError(f"error from the management library: {error}") from error
        if not gpus:
            raise NoGpusError("the driver lists none, or CUDA_VISIBLE_DEVICES hides them all")
        self._xids = XidEvents({gpu.device: gpu.handle for gpu in gpus if not gpu.is_instance})
        return gpus

    def read(self, gpus: Sequence[Gpu]) -> list[dict[str, float | None]]:
        """Return the readings of each GPU."""
        new_xids = self._xids.read() if self._xids is not None else {}
        self._xid_counts.update(new_xids)
        return [self._read(gpu, new_xids.get(gpu.device)) for gpu in gpus]

    def close(self) -> None:
        """Close NVML."""
        if self._xids is not None:
            self._xids.close()
            self._xids = None
        value_of("nvmlShutdown")

    def _read(self, gpu: Gpu, new_xids: int | None) -> dict[str, float | None]:
        readings = read_memory(gpu)
        if not gpu.is_instance:
            readings |= read_whole(gpu)
            # A GPU without any readings has no error count either.
            is_known = new_xids is not None and (
                new_xids > 0 or any(v is not None for v in readings.values())
            )
            readings[m.GPU_XID_ERRORS.name] = self._xid_counts[gpu.device] if is_known else None
            if self.own is not None:
                since_us = self._processes_until_us.get(gpu.device, 0)
                percent, until_us = read_percent(gpu.handle, since_us, self.own)
                self._processes_until_us[gpu.device] = until_us
                readings[m.GPU_REPLICA_PERCENT.name] = percent
        if self.own is not None:
            readings[m.GPU_REPLICA_MEMORY_USED_BYTES.name] = read_memory_bytes(gpu.handle, self.own)
        return readings


def read_memory(gpu: Gpu) -> dict[str, float | None]:
    """Return memory and utilization; nothing for a GPU split into instances, since those report it."""
    if gpu.has_instances:
        return {}
    memory = read_memory_info(gpu.handle)
    use = value_of("nvmlDeviceGetUtilizationRates", gpu.handle)
    return {
        m.GPU_PERCENT.name: None if use is None else float(use.gpu),
        m.GPU_MEMORY_USED_BYTES.name: None if memory is None else float(memory.used),
        m.GPU_MEMORY_TOTAL_BYTES.name: None if memory is None else float(memory.total),
    }


def read_memory_info(handle: Any) -> Any:
    """Return the library's memory info as nvidia-smi shows it: memory reserved by the driver is not counted as used."""
    import pynvml

    version = getattr(pynvml, "nvmlMemory_v2", None)
    memory = None if version is None else value_of("nvmlDeviceGetMemoryInfo", handle, version)
    return value_of("nvmlDeviceGetMemoryInfo", handle) if memory is None else memory  # drivers before 510


def read_whole(gpu: Gpu) -> dict[str, float | None]:
    """Return the readings of the whole GPU: power, temperature, clocks, and memory errors since the driver loaded."""
    milliwatts = value_of("nvmlDeviceGetPowerUsage", gpu.handle)
    celsius = value_of("nvmlDeviceGetTemperature", gpu.handle, 0)
    reasons: Any = value_of("nvmlDeviceGetCurrentClocksEventReasons", gpu.handle)
    if reasons is None:  # drivers before 535 use the older name
        reasons = value_of("nvmlDeviceGetCurrentClocksThrottleReasons", gpu.handle)

    def throttled(bits: int) -> float | None:
        return None if reasons is None else float(bool(reasons & bits))

    return {
        m.GPU_POWER_WATTS.name: None if milliwatts is None else milliwatts / 1_000,
        m.GPU_TEMPERATURE_CELSIUS.name: None if celsius is None else float(celsius),
        m.GPU_THROTTLED_RATIO.name: throttled(_THROTTLED),
        m.GPU_THROTTLED_THERMAL_RATIO.name: throttled(_THERMAL),
        m.GPU_THROTTLED_POWER_RATIO.name: throttled(_POWER),
        m.GPU_ECC_CORRECTED_ERRORS.name: value_of(
            "nvmlDeviceGetTotalEccErrors", gpu.handle, _CORRECTED, _VOLATILE
        ),
        m.GPU_ECC_UNCORRECTED_ERRORS.name: value_of(
            "nvmlDeviceGetTotalEccErrors", gpu.handle, _UNCORRECTED, _VOLATILE
        ),
    }
