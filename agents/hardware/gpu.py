"""GPU: readings from the driver's management library. One GPU's error only makes its reading null.

NVIDIA GPUs are looked for first, then AMD, once. If there are none, that is logged once and the collector stays empty.
If a GPU stops responding, all are looked up again; one that was removed is then no longer listed, and is looked for
from time to time, since a reset brings it back.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from endpoint_analytics.agents.hardware.gpu_amd import AmdGpus
from endpoint_analytics.agents.hardware.gpu_nvidia import NvidiaGpus
from endpoint_analytics.agents.hardware.gpu_vendor import Gpu, NoGpusError, Vendor
from endpoint_analytics.agents.hardware.reading import HardwareReading
from endpoint_analytics.schemas.hardware import Accelerator

logger = logging.getLogger("endpoint_analytics")

LOOK_AGAIN_AFTER = 10
"""Samples of an unresponsive GPU after which all GPUs are looked up again."""

LOOK_FOR_LOST_AFTER = 60
"""The same for a GPU that is no longer listed."""


@dataclass(slots=True)
class GpuCollector:
    """The GPUs that the driver shows to this process and that no variable hides."""

    vendors: tuple[Vendor, ...] = field(default_factory=lambda: (NvidiaGpus(), AmdGpus()))
    _vendor: Vendor | None = None
    _has_looked: bool = False
    _gpus: tuple[Gpu, ...] = ()
    _known: dict[str, str] = field(default_factory=dict)
    _samples_amiss: int = 0
    _look_after: int | None = None

    def collect(self, at_ns: int) -> HardwareReading:  # noqa: ARG002  # the Collector's signature
        """Return one accelerator for each GPU and each GPU instance, `gpu0` first."""
        if not self._has_looked:
            self._has_looked = True
            self._choose()
        elif self._look_after is not None and self._samples_amiss >= self._look_after:
            self._find_again()
        if self._vendor is None:
            return HardwareReading()
        readings = self._vendor.read(self._gpus)
        self._watch(readings)
        return HardwareReading(
            accelerators=tuple(
                Accelerator(
                    device=gpu.device,
                    uuid=gpu.uuid,
                    name=gpu.name,
                    readings={name: [value] for name, value in found.items()},
                )
                for gpu, found in zip(self._gpus, readings, strict=True)
            )
        )

    def _choose(self) -> None:
        reasons = []
        for vendor in self.vendors:
            try:
                self._gpus = vendor.find({})
            except NoGpusError as error:
                reasons.append(f"{vendor.name}: {error}")
                continue
            self._vendor = vendor
            self._remember()
            return
        logger.info("no GPU metrics: %s", "; ".join(reasons))

    def _watch(self, readings: list[dict[str, float | None]]) -> None:
        """Count the samples for which a GPU has been unresponsive or missing."""
        silent = any(all(value is None for value in found.values()) for found in readings)
        lost = not {*self._known.values()} <= {gpu.device for gpu in self._gpus}
        self._look_after = LOOK_AGAIN_AFTER if silent else LOOK_FOR_LOST_AFTER if lost else None
        self._samples_amiss = 0 if self._look_after is None else self._samples_amiss + 1

    def _find_again(self) -> None:
        self._samples_amiss = 0
        if self._vendor is None:
            return
        before = {gpu.device for gpu in self._gpus}
        self._vendor.close()
        try:
            self._gpus = self._vendor.find(self._known)
        except NoGpusError as error:
            logger.info("no GPU metrics: %s: %s", self._vendor.name, error)
            self._gpus = ()
        self._remember()
        now = {gpu.device for gpu in self._gpus}
        for gone in sorted(before - now):
            logger.warning("%s is gone", gone)
        for back in sorted(now - before):
            logger.warning("%s is back", back)

    def _remember(self) -> None:
        self._known.update({gpu.uuid: gpu.device for gpu in self._gpus if gpu.uuid and not gpu.is_instance})
