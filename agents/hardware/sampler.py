"""The sampler: asks every collector each second, in a thread of its own, since a driver may block.

One collector's failure never stops the others: it is logged once, and its readings are missing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from endpoint_analytics.agents.clock import now_ns, read_offset_us, steady_offset_us
from endpoint_analytics.agents.config import AgentConfig
from endpoint_analytics.agents.hardware.cgroup import OwnCgroup
from endpoint_analytics.agents.hardware.cpu import CpuCollector
from endpoint_analytics.agents.hardware.disk import DiskCollector
from endpoint_analytics.agents.hardware.gpu import GpuCollector
from endpoint_analytics.agents.hardware.memory import MemoryCollector
from endpoint_analytics.agents.hardware.network import NetworkCollector
from endpoint_analytics.agents.hardware.pressure import PressureCollector
from endpoint_analytics.agents.hardware.reading import Collector, Reading
from endpoint_analytics.schemas.hardware import Accelerator, HardwareBatch
from endpoint_analytics.schemas.limits import MAX_INTERVAL_US

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

    def sample(self, at_ns: int) -> Reading:
        """Return all that the collectors read at `at_ns` of the monotonic clock."""
        replica: dict[str, float | None] = {}
        accelerators: list[Accelerator] = []
        for index, collector in enumerate(self._collectors):
            try:
                reading = collector.collect(at_ns)
            except Exception as error:  # noqa: BLE001  # whatever one does must not stop the others
                if index not in self._failed:
                    self._failed.add(index)
                    logger.warning(
                        "%s failed and its figures are missing: %s: %s",
                        type(collector).__name__,
                        type(error).__name__,
                        error,
                    )
                continue
            replica.update(reading.replica)
            accelerators.extend(reading.accelerators)
        return Reading(replica, tuple(accelerators))


class HardwareThread:
    """Samples each second and hands `post` a batch of one sample; `stop()` ends it without waiting.

    While `may_sample` says no (another process of the replica samples) it only asks again each second.
    """

    def __init__(
        self,
        config: AgentConfig,
        boot_id: str,
        collectors: Sequence[Collector],
        post: Callable[[HardwareBatch], None],
        every_s: float = SAMPLE_EVERY_S,
        may_sample: Callable[[], bool] = lambda: True,
    ) -> None:
        self._config = config
        self._boot_id = boot_id
        self._sampler = Sampler(collectors)
        self._post = post
        self._every_s = every_s
        self._may_sample = may_sample
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="endpoint-analytics-hardware", daemon=True)

    def start(self) -> None:
        """Start sampling."""
        self._thread.start()

    def stop(self) -> None:
        """Sample no more; a read that hangs in a driver is left to the daemon thread."""
        self._stopped.set()

    def _run(self) -> None:
        seq, offset_us = 0, read_offset_us()
        before_ns: int | None = now_ns()
        while not self._stopped.is_set():
            at_ns = now_ns()
            if not self._may_sample():
                before_ns = None
                self._stopped.wait(self._every_s)
                continue
            if before_ns is None:  # just taken over: what came before is another process's interval
                before_ns = at_ns
            reading = self._sampler.sample(at_ns)
            offset_us = steady_offset_us(offset_us, read_offset_us())
            batch = make_batch(self._config, self._boot_id, seq, before_ns, at_ns, offset_us, reading)
            try:
                self._post(batch)
            except RuntimeError:  # the agent's loop is closed: it has stopped
                return
            seq, before_ns = seq + 1, at_ns
            self._stopped.wait(max(self._every_s - (now_ns() - at_ns) / 1e9, 0.0))


def make_batch(
    config: AgentConfig,
    boot_id: str,
    seq: int,
    start_ns: int,
    at_ns: int,
    offset_us: int,
    reading: Reading,
) -> HardwareBatch:
    """Return the batch of one sample, taken at the end `at_ns` of its interval (monotonic nanoseconds)."""
    length_us = min(at_ns // 1_000 - start_ns // 1_000, MAX_INTERVAL_US)
    end_us = at_ns // 1_000 + offset_us
    return HardwareBatch(
        namespace=config.namespace,
        endpoint=config.endpoint,
        replica_id=config.replica_id,
        boot_id=boot_id,
        seq=seq,
        start_us=end_us - length_us,
        end_us=end_us,
        at_us=[length_us],
        replica={name: [value] for name, value in reading.replica.items()},
        accelerators=list(reading.accelerators),
    )
