"""AMD GPUs: readings from AMD SMI, ROCm's management library, through its module `amdsmi`.

rocm.docs.amd.com/projects/amdsmi. The library lists partitions of an Instinct GPU as processors, so they are separate
devices. Utilization, power, temperature and throttling come from one call, for the driver's gpu_metrics table; the call
for violations alone would take 0.1 s per GPU.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from endpoint_analytics.agents.hardware.gpu_amd_library import number_of, value_of
from endpoint_analytics.agents.hardware.gpu_vendor import Gpu, NoGpusError, free_name
from endpoint_analytics.agents.hardware.gpu_visible import parse_visible
from endpoint_analytics.agents.hardware.reading import Delta
from endpoint_analytics.schemas import metrics as m
from endpoint_analytics.schemas.limits import MAX_DEVICES, MAX_NAME_LENGTH

# Bits of indep_throttle_status, the same for all chips (SMU_THROTTLER_* in the amdgpu driver).
_POWER = 0xFFFF
_THERMAL = 0x00FF_FFFF << 32

_THERMAL_RESIDENCIES = (
    "socket_thm_residency_acc",
    "vr_thm_residency_acc",
    "hbm_thm_residency_acc",
    "prochot_residency_acc",
)
_POWER_RESIDENCY = "ppt_residency_acc"


@dataclass(slots=True)
class AmdGpus:
    """The GPUs whose device nodes exist and that no ROCm variable hides. `devices` is for tests."""

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    devices: Path = Path("/dev")
    name: str = "AMD"
    _throttling: dict[str, _Throttling] = field(default_factory=dict)

    def find(self, known: Mapping[str, str]) -> tuple[Gpu, ...]:
        """Return the GPUs, or the partitions of each."""
        if not (self.devices / "kfd").exists():
            raise NoGpusError(f"no driver ({self.devices / 'kfd'})")
        try:
            import amdsmi
        except ImportError as error:
            raise NoGpusError(f"{error} (it comes with ROCm)") from error
        except (
            AttributeError,
            KeyError,
            OSError,
        ) as error:  # no library, or of another version than the module
            raise NoGpusError(f"amdsmi cannot be used: {type(error).__name__}: {error}") from error
        try:
            amdsmi.amdsmi_init()
            handles = amdsmi.amdsmi_get_processor_handles()
        except amdsmi.AmdSmiException as error:
            raise NoGpusError(f"error from the management library: {' '.join(str(error).split())}") from error
        gpus = self._visible(handles, known)
        if not gpus:
            raise NoGpusError("the driver lists none, or a variable hides them all")
        return gpus

    def read(self, gpus: Sequence[Gpu]) -> list[dict[str, float | None]]:
        """Return the readings of each GPU."""
        return [self._read(gpu) for gpu in gpus]

    def close(self) -> None:
        """Close AMD SMI."""
        value_of("amdsmi_shut_down")
        self._throttling.clear()

    def _visible(self, handles: Sequence[Any], known: Mapping[str, str]) -> tuple[Gpu, ...]:
        found = [(value_of("amdsmi_get_gpu_enumeration_info", handle) or {}, handle) for handle in handles]
        present = [(info, handle) for info, handle in found if self._has_node(info)]
        if all(isinstance(info.get("hip_id"), int) for info, _ in present):  # ROCm's own order
            present.sort(key=lambda each: int(each[0]["hip_id"]))
        gpus: list[Gpu] = []
        for number, position in enumerate(visible_positions(self.environment, [info for info, _ in present])):
            handle = present[position][1]
            uuid = str(value_of("amdsmi_get_gpu_device_uuid", handle) or "")[:MAX_NAME_LENGTH]
            name = str((value_of("amdsmi_get_gpu_asic_info", handle) or {}).get("market_name", ""))
            device = known.get(uuid) or free_name(number, {*known.values(), *(gpu.device for gpu in gpus)})
            gpus.append(Gpu(device, handle, uuid, name[:MAX_NAME_LENGTH]))
        return tuple(gpus[:MAX_DEVICES])

    def _has_node(self, info: Mapping[str, Any]) -> bool:
        """Whether the GPU's device node exists: the library lists all of the machine's, a container has only some."""
        number = info.get("drm_render")
        return not isinstance(number, int) or (self.devices / f"dri/renderD{number}").exists()

    def _read(self, gpu: Gpu) -> dict[str, float | None]:
        import amdsmi

        table = value_of("amdsmi_get_gpu_metrics_info", gpu.handle)
        errors = value_of("amdsmi_get_gpu_total_ecc_count", gpu.handle)
        vram = amdsmi.AmdSmiMemoryType.VRAM
        throttling = self._throttling.setdefault(gpu.device, _Throttling())
        return {
            m.GPU_PERCENT.name: number_of(table, "average_gfx_activity"),
            m.GPU_MEMORY_USED_BYTES.name: value_of("amdsmi_get_gpu_memory_usage", gpu.handle, vram),
            m.GPU_MEMORY_TOTAL_BYTES.name: value_of("amdsmi_get_gpu_memory_total", gpu.handle, vram),
            m.GPU_POWER_WATTS.name: number_of(table, "current_socket_power", "average_socket_power"),
            m.GPU_TEMPERATURE_CELSIUS.name: number_of(table, "temperature_edge", "temperature_hotspot"),
            m.GPU_ECC_CORRECTED_ERRORS.name: number_of(errors, "correctable_count"),
            m.GPU_ECC_UNCORRECTED_ERRORS.name: number_of(errors, "uncorrectable_count"),
        } | throttling.ratios(table)


@dataclass(slots=True)
class _Throttling:
    """How long one GPU's clocks were throttled: newer chips count the time, older ones report the current status."""

    _counter: Delta = field(default_factory=Delta)
    _residencies: dict[str, Delta] = field(default_factory=dict)

    def ratios(self, table: dict[str, Any] | None) -> dict[str, float | None]:
        """Return the three ratios; None if unavailable, and for the first sample of counters."""
        total = number_of(table, "accumulation_counter")
        thermal, power, any_reason = self._counted(table) if total is not None else throttled_now(table)
        return {
            m.GPU_THROTTLED_RATIO.name: any_reason,
            m.GPU_THROTTLED_THERMAL_RATIO.name: thermal,
            m.GPU_THROTTLED_POWER_RATIO.name: power,
        }

    def _counted(self, table: dict[str, Any] | None) -> tuple[float | None, float | None, float | None]:
        elapsed = self._counter.since_last(number_of(table, "accumulation_counter"))

        def share(name: str) -> float | None:
            held = self._residencies.setdefault(name, Delta()).since_last(number_of(table, name))
            return None if held is None or not elapsed else round(min(held / elapsed, 1.0), 6)

        heat = [value for value in map(share, _THERMAL_RESIDENCIES) if value is not None]
        thermal, power = max(heat, default=None), share(_POWER_RESIDENCY)
        # Reasons may overlap: the total is at least the longest of them.
        return thermal, power, max((v for v in (thermal, power) if v is not None), default=None)


def throttled_now(table: dict[str, Any] | None) -> tuple[float | None, float | None, float | None]:
    """Return 0 or 1 for thermal, for power and for any reason; None if the chip does not report it."""
    status = None if table is None else table.get("indep_throttle_status")
    if not isinstance(status, int):
        return None, None, None
    return float(bool(status & _THERMAL)), float(bool(status & _POWER)), float(bool(status))


def visible_positions(environment: Mapping[str, str], infos: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the positions of the GPUs that ROCm shows, in its order: ROCR_VISIBLE_DEVICES first, and of those the ones
    in HIP_VISIBLE_DEVICES, or else CUDA_VISIBLE_DEVICES.
    """
    uuids = [str(info.get("hip_uuid", "")) for info in infos]
    outer = parse_visible(environment.get("ROCR_VISIBLE_DEVICES"), uuids)
    inner_text = environment.get("HIP_VISIBLE_DEVICES", environment.get("CUDA_VISIBLE_DEVICES"))
    inner = parse_visible(inner_text, [uuids[position] for position in outer])
    return [outer[position] for position in inner]
