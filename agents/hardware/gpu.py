"""GPU: what the NVIDIA driver's management library tells of each GPU. One GPU's error is a null, no more.

The library is the module `pynvml` of the package nvidia-ml-py. Without a driver or a GPU that is said once
in the log, and the collector is empty from then on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from endpoint_analytics.agents.hardware.reading import Reading
from endpoint_analytics.schemas.hardware import Accelerator
from endpoint_analytics.schemas.limits import MAX_DEVICES, MAX_NAME_LENGTH
from endpoint_analytics.schemas.metrics import (
    GPU_MEMORY_TOTAL_BYTES,
    GPU_MEMORY_USED_BYTES,
    GPU_PERCENT,
    GPU_POWER_WATTS,
    GPU_TEMPERATURE_CELSIUS,
)

logger = logging.getLogger("endpoint_analytics")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that answers: its handle in the library, and what does not change."""

    device: str
    handle: Any
    uuid: str
    name: str


@dataclass(slots=True)
class GpuCollector:
    """Every GPU that the driver shows to this process."""

    _gpus: tuple[Gpu, ...] | None = field(default=None)

    def collect(self, at_ns: int) -> Reading:  # noqa: ARG002  # the Collector's signature
        """Return one accelerator for each GPU, `gpu0` first."""
        if self._gpus is None:
            self._gpus = find_gpus()
        return Reading(accelerators=tuple(read_gpu(gpu) for gpu in self._gpus))


def find_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs; none, with one line in the log, when there is no driver or no GPU."""
    try:
        import pynvml
    except ImportError as error:
        logger.info("no GPU figures: %s (they come with the package nvidia-ml-py)", error)
        return ()
    try:
        pynvml.nvmlInit()
        count = min(int(pynvml.nvmlDeviceGetCount()), MAX_DEVICES)
    except pynvml.NVMLError as error:
        logger.info("no GPU figures: the NVIDIA management library says: %s", error)
        return ()
    if not count:
        logger.info("no GPU figures: the NVIDIA driver shows no GPU")
    gpus = []
    for index in range(count):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        except pynvml.NVMLError as error:
            logger.warning("no figures of gpu%d: %s", index, error)
            continue
        gpus.append(
            Gpu(
                device=f"gpu{index}",
                handle=handle,
                uuid=_text(partial(pynvml.nvmlDeviceGetUUID, handle)),
                name=_text(partial(pynvml.nvmlDeviceGetName, handle)),
            )
        )
    return tuple(gpus)


def read_gpu(gpu: Gpu) -> Accelerator:
    """Return the figures of one GPU; each that cannot be read is None."""
    import pynvml

    handle = gpu.handle
    memory = _value(partial(pynvml.nvmlDeviceGetMemoryInfo, handle))
    use = _value(partial(pynvml.nvmlDeviceGetUtilizationRates, handle))
    power_milliwatts = _value(partial(pynvml.nvmlDeviceGetPowerUsage, handle))
    celsius = _value(partial(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU))
    return Accelerator(
        device=gpu.device,
        uuid=gpu.uuid,
        name=gpu.name,
        readings={
            GPU_PERCENT.name: [None if use is None else float(use.gpu)],
            GPU_MEMORY_USED_BYTES.name: [None if memory is None else float(memory.used)],
            GPU_MEMORY_TOTAL_BYTES.name: [None if memory is None else float(memory.total)],
            GPU_POWER_WATTS.name: [None if power_milliwatts is None else power_milliwatts / 1_000],
            GPU_TEMPERATURE_CELSIUS.name: [None if celsius is None else float(celsius)],
        },
    )


def _value(read: Callable[[], Any]) -> Any:
    """Return what the library says, or None where it says an error."""
    import pynvml

    try:
        return read()
    except pynvml.NVMLError:
        return None


def _text(read: Callable[[], Any]) -> str:
    value = _value(read)
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
    return text[:MAX_NAME_LENGTH]
