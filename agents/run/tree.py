"""CPU and memory of a process and all its descendants: the replica, where no container bounds it.

In a container or a service with limits the control group's own figures are right, and are what an orchestrator
sees; without limits they are the whole machine's or session's, and the tree is the replica.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

from endpoint_analytics.agents.hardware.cgroup import Cgroup, read_cgroup
from endpoint_analytics.agents.hardware.cpu import CpuCollector, read_cores
from endpoint_analytics.agents.hardware.disk import DiskCollector
from endpoint_analytics.agents.hardware.gpu import GpuCollector
from endpoint_analytics.agents.hardware.memory import MemoryCollector, read_limit_bytes
from endpoint_analytics.agents.hardware.network import NetworkCollector
from endpoint_analytics.agents.hardware.reading import Collector, Delta, Reading
from endpoint_analytics.schemas.metrics import CPU_PERCENT, MEMORY_LIMIT_BYTES, MEMORY_USED_BYTES


def run_collectors() -> tuple[Collector, ...]:
    """Return the collectors of a launcher: of its control group where that has a limit, else of its tree."""
    cgroup, machine_bytes = read_cgroup(), int(psutil.virtual_memory().total)
    rest = (NetworkCollector(), DiskCollector(), GpuCollector())
    if has_limit(cgroup, machine_bytes):
        return (CpuCollector(cgroup), MemoryCollector(cgroup), *rest)
    return (TreeCollector(psutil.Process(), machine_bytes), *rest)


def has_limit(cgroup: Cgroup | None, machine_bytes: int) -> bool:
    """Whether the group bounds processor or memory below the machine's."""
    limit_bytes = read_limit_bytes(cgroup)
    return read_cores(cgroup, os.cpu_count() or 1) is not None or (
        limit_bytes is not None and limit_bytes < machine_bytes
    )


@dataclass(slots=True)
class TreeCollector:
    """Of `root` and its descendants, over the machine's cores and memory."""

    root: psutil.Process
    machine_bytes: int
    machine_cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    _used_s: Delta = field(default_factory=Delta)
    _at_ns: Delta = field(default_factory=Delta)

    def collect(self, at_ns: int) -> Reading:
        """Return `cpu_percent` (None at the first sample), `memory_used_bytes` and `memory_limit_bytes`."""
        used_s, private_bytes, shared_bytes = 0.0, 0, 0
        for process in self._processes():
            try:
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info()
            except psutil.Error:  # it has just ended: its parent has its time from now on
                continue
            # A process that ended and was waited for is in its parent's children_*: the sum stays whole.
            used_s += times.user + times.system
            used_s += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            shared = getattr(memory, "shared", 0)
            private_bytes += memory.rss - shared
            shared_bytes = max(shared_bytes, shared)
        used, elapsed_ns = self._used_s.since_last(used_s), self._at_ns.since_last(at_ns)
        percent = None
        if used is not None and elapsed_ns:
            percent = round(100 * used * 1e9 / (elapsed_ns * self.machine_cores), 3)
        return Reading(
            replica={
                CPU_PERCENT.name: percent,
                MEMORY_USED_BYTES.name: private_bytes + shared_bytes,
                MEMORY_LIMIT_BYTES.name: self.machine_bytes,
            }
        )

    def _processes(self) -> Iterator[psutil.Process]:
        yield self.root
        yield from self.root.children(recursive=True)
