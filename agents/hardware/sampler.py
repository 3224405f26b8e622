"""The sampler: reads every collector once per second, in its own thread.

One collector's failure never stops the others: it is logged once, and its readings are missing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from endpoint_analytics.agents.core.clamp import reading_in_range, readings_in_range, text_in_range
from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.sampling import Interval
from endpoint_analytics.agents.hardware.cgroup import OwnCgroup
from endpoint_analytics.agents.hardware.cpu import CpuCollector
from endpoint_analytics.agents.hardware.disk import DiskCollector
from endpoint_analytics.agents.hardware.gpu import GpuCollector
from endpoint_analytics.agents.hardware.memory import MemoryCollector
from endpoint_analytics.agents.hardware.network import NetworkCollector
from endpoint_analytics.agents.hardware.pressure import PressureCollector
from endpoint_analytics.agents.hardware.reading import Collector, HardwareReading
from endpoint_analytics.schemas.hardware import Accelerator, HardwareBatch
from endpoint_analytics.schemas.limits import MAX_DEVICES, MAX_NAME_LENGTH

logger = logging.getLogger("endpoint_analytics")

SAMPLE_EVERY_S = 1.0


def default_collectors() -> tuple[Collector, ...]:
    """Return a collector for each resource."""
    own = OwnCgroup()
    return (
        CpuCollector(own),
        MemoryCollector(own),
        PressureCollector(own),
        DiskCollector(own),
        NetworkCollector(),
        GpuCollector(),
    )


class Sampler:
    """Composes collectors into one reading."""

    def __init__(self, collectors: Sequence[Collector]) -> None:
        self._collectors = tuple(collectors)
        self._failed: set[int] = set()

    def sample(self, at_ns: int) -> HardwareReading:
        """Return the readings of all collectors at monotonic time `at_ns`."""
        replica: dict[str, float | None] = {}
        accelerators: list[Accelerator] = []
        for index, collector in enumerate(self._collectors):
            try:
                reading = collector.collect(at_ns)
            except Exception as error:  # noqa: BLE001  # no failure may stop the others
                if index not in self._failed:
                    self._failed.add(index)
                    logger.warning(
                        "%s failed, its metrics are missing: %s: %s",
                        type(collector).__name__,
                        type(error).__name__,
                        error,
                    )
                continue
            replica.update(reading.replica)
            accelerators.extend(reading.accelerators)
        return HardwareReading(replica, tuple(accelerators))


def make_batch(
    config: AgentConfig, boot_id: str, interval: Interval, reading: HardwareReading
) -> HardwareBatch:
    """Return the batch of one sample, taken at the interval's end."""
    return HardwareBatch(
        namespace=config.namespace,
        endpoint=config.endpoint,
        replica_id=config.replica_id,
        boot_id=boot_id,
        seq=interval.seq,
        start_us=interval.start_us,
        end_us=interval.end_us,
        at_us=[interval.length_us],
        replica=readings_in_range(reading.replica),
        accelerators=_accelerators(reading.accelerators),
    )


def _accelerators(found: Sequence[Accelerator]) -> list[Accelerator]:
    """Return them clamped to what a message allows: names and values come from the driver."""
    by_device = {each.device: each for each in reversed(found)}
    return [
        Accelerator(
            device=each.device,
            readings={
                name: [reading_in_range(value) for value in column] for name, column in each.readings.items()
            },
            uuid=text_in_range(each.uuid, MAX_NAME_LENGTH),
            name=text_in_range(each.name, MAX_NAME_LENGTH),
        )
        for each in [*reversed(by_device.values())][:MAX_DEVICES]
    ]
