"""CPU and memory of a process and all its descendants: these are the replica where no container limits it.

In a container or service with limits, the control group's own figures are right, and are what an orchestrator sees.
Without limits the group is the whole machine or session, and the process tree is the replica. CPU and memory always
come from the same source. OOM kills and pressure are the group's or the machine's: the kernel does not count them per
tree.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

from endpoint_analytics.agents.hardware.cgroup import OwnCgroup
from endpoint_analytics.agents.hardware.cpu import CpuCollector, read_cores
from endpoint_analytics.agents.hardware.disk import DiskCollector
from endpoint_analytics.agents.hardware.gpu import GpuCollector
from endpoint_analytics.agents.hardware.memory import MemoryCollector, read_limit_bytes
from endpoint_analytics.agents.hardware.network import NetworkCollector
from endpoint_analytics.agents.hardware.pressure import PressureCollector
from endpoint_analytics.agents.hardware.reading import Collector, Delta, HardwareReading
from endpoint_analytics.schemas.metrics import CPU_PERCENT, MEMORY_USED_BYTES


def run_collectors() -> tuple[Collector, ...]:
    """Return the collectors for a launcher."""
    own = OwnCgroup()
    launched = LaunchedCollector(own, psutil.Process(), int(psutil.virtual_memory().total), own_cores())
    return launched, PressureCollector(own), DiskCollector(own), NetworkCollector(), GpuCollector()


def own_cores() -> int:
    """Return how many CPUs this process may run on (taskset, numactl); its children inherit the set."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(slots=True)
class LaunchedCollector:
    """Reads the control group while it has a limit, else the process tree; limits may change at run time."""

    own: OwnCgroup
    root: psutil.Process
    machine_bytes: int
    machine_cores: int
    _of_group: bool | None = None
    _cpu: CpuCollector = field(init=False)
    _memory: MemoryCollector = field(init=False)
    _tree: TreeCollector = field(init=False)

    def __post_init__(self) -> None:
        self._memory = MemoryCollector(self.own, self.machine_bytes)
        self._restart()

    def collect(self, at_ns: int) -> HardwareReading:
        """Return CPU and memory readings; when the source changes, those of a first sample."""
        of_group = has_limit(self.own, self.machine_cores, self.machine_bytes)
        if of_group != self._of_group:
            self._of_group = of_group
            self._restart()
        readings = self._memory.collect(at_ns).replica | self._cpu.collect(at_ns).replica
        if not of_group:
            readings |= self._tree.collect(at_ns).replica
        return HardwareReading(replica=readings)

    def _restart(self) -> None:
        self._cpu = CpuCollector(self.own, self.machine_cores)
        self._tree = TreeCollector(self.root, self.machine_cores)


def has_limit(own: OwnCgroup, machine_cores: int, machine_bytes: int) -> bool:
    """Whether the group limits CPU or memory below the machine's, and reports both."""
    group = own.read()
    if group.cpu_time is None or group.memory is None:
        return False
    return (
        read_cores(own.files, group, machine_cores) < machine_cores
        or read_limit_bytes(own.files, group.memory, machine_bytes) < machine_bytes
    )


@dataclass(slots=True)
class TreeCollector:
    """Reads `root` and its descendants; CPU is relative to the machine's cores."""

    root: psutil.Process
    machine_cores: int
    _used_s: Delta = field(default_factory=Delta)
    _at_ns: Delta = field(default_factory=Delta)

    def collect(self, at_ns: int) -> HardwareReading:
        """Return `cpu_percent` (None for the first sample) and `memory_used_bytes`."""
        used_s, private_bytes, shared_bytes = 0.0, 0, 0
        for process in self._processes():
            try:
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info()
            except psutil.Error:  # it has just ended: its parent's counters include its time from now on
                continue
            # A process that was reaped is in its parent's children_*, so the sum stays complete.
            used_s += times.user + times.system
            used_s += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            shared = getattr(memory, "shared", 0)
            private_bytes += memory.rss - shared
            shared_bytes = max(shared_bytes, shared)
        used, elapsed_ns = self._used_s.since_last(used_s), self._at_ns.since_last(at_ns)
        percent = None
        if used is not None and elapsed_ns:
            percent = round(100 * used * 1e9 / (elapsed_ns * self.machine_cores), 3)
        return HardwareReading(
            replica={CPU_PERCENT.name: percent, MEMORY_USED_BYTES.name: private_bytes + shared_bytes}
        )

    def _processes(self) -> Iterator[psutil.Process]:
        yield self.root
        yield from self.root.children(recursive=True)
