"""CPU and memory of a process and all its descendants: the replica, where no container bounds it.

In a container or a service with limits the control group's own figures are right, and are what an orchestrator
sees; without limits they are the whole machine's or session's, and the tree is the replica. CPU and memory are
always both of the same one. OOM kills and pressure, which the kernel counts for no tree, are the group's or
the machine's.
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
from endpoint_analytics.agents.hardware.reading import Collector, Delta, Reading
from endpoint_analytics.schemas.metrics import CPU_PERCENT, MEMORY_USED_BYTES


def run_collectors() -> tuple[Collector, ...]:
    """Return the collectors of a launcher."""
    own = OwnCgroup()
    launched = LaunchedCollector(own, psutil.Process(), int(psutil.virtual_memory().total), own_cores())
    return launched, PressureCollector(own), DiskCollector(own), NetworkCollector(), GpuCollector()


def own_cores() -> int:
    """Return how many processors this process may run on: what it launches inherits them (taskset, numactl)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(slots=True)
class LaunchedCollector:
    """Of the control group while that has a limit, else of the tree; a limit may come and go while it runs."""

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
        self._begin_anew()

    def collect(self, at_ns: int) -> Reading:
        """Return the readings of CPU and memory; at a change of what is measured, those of a first sample."""
        of_group = has_limit(self.own, self.machine_cores, self.machine_bytes)
        if of_group != self._of_group:
            self._of_group = of_group
            self._begin_anew()
        readings = self._memory.collect(at_ns).replica | self._cpu.collect(at_ns).replica
        if not of_group:
            readings |= self._tree.collect(at_ns).replica
        return Reading(replica=readings)

    def _begin_anew(self) -> None:
        self._cpu = CpuCollector(self.own, self.machine_cores)
        self._tree = TreeCollector(self.root, self.machine_cores)


def has_limit(own: OwnCgroup, machine_cores: int, machine_bytes: int) -> bool:
    """Whether the group bounds processor or memory below the machine's, and tells of both."""
    group = own.read()
    if group.cpu_time is None or group.memory is None:
        return False
    return (
        read_cores(own.files, group, machine_cores) < machine_cores
        or read_limit_bytes(own.files, group.memory, machine_bytes) < machine_bytes
    )


@dataclass(slots=True)
class TreeCollector:
    """Of `root` and its descendants, over the machine's cores."""

    root: psutil.Process
    machine_cores: int
    _used_s: Delta = field(default_factory=Delta)
    _at_ns: Delta = field(default_factory=Delta)

    def collect(self, at_ns: int) -> Reading:
        """Return `cpu_percent` (None at the first sample) and `memory_used_bytes`."""
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
            replica={CPU_PERCENT.name: percent, MEMORY_USED_BYTES.name: private_bytes + shared_bytes}
        )

    def _processes(self) -> Iterator[psutil.Process]:
        yield self.root
        yield from self.root.children(recursive=True)
