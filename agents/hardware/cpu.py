"""CPU: the replica's control group's usage relative to the cores it may use; without a group, the machine's.

The cores are the minimum of all quotas up the tree, the CPUs of the cpuset, and the machine's. Shares (`cpu.shares`,
`cpu.weight`) are not limits. Everything is read each time: a pod can be resized while it runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from endpoint_analytics.agents.hardware.cgroup import Cgroup, ControlGroup, OwnCgroup, parse_cpu_list
from endpoint_analytics.agents.hardware.reading import Delta, HardwareReading
from endpoint_analytics.agents.hardware.system_files import SystemFiles, parse_number
from endpoint_analytics.schemas.metrics import CPU_LIMIT_CORES, CPU_PERCENT, CPU_THROTTLED_RATIO


@dataclass(slots=True)
class CpuCollector:
    """Reads the process's control group. `machine_cores` is for tests."""

    own: OwnCgroup = field(default_factory=OwnCgroup)
    machine_cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    _cores_before: float = 0.0
    _used_us: Delta = field(default_factory=Delta)
    _at_ns: Delta = field(default_factory=Delta)
    _periods: Delta = field(default_factory=Delta)
    _throttled: Delta = field(default_factory=Delta)

    def collect(self, at_ns: int) -> HardwareReading:
        """Return `cpu_percent` (0 to 100, except for clock error), `cpu_limit_cores` and `cpu_throttled_ratio`.

        The first and the last are None for the first sample; the last is also None without a quota.
        """
        files, group = self.own.files, self.own.read()
        cores = read_cores(files, group, self.machine_cores)
        used_us = read_machine_used_us() if group.cpu_time is None else read_used_us(files, group.cpu_time)
        used = self._used_us.since_last(used_us, group.cpu_time)
        elapsed_ns = self._at_ns.since_last(at_ns)
        percent = None
        if used is not None and elapsed_ns:
            # If the limit changed within the interval, the time of the change is unknown.
            percent = round(100 * used * 1_000 / (elapsed_ns * max(cores, self._cores_before)), 3)
        self._cores_before = cores
        return HardwareReading(
            replica={
                CPU_PERCENT.name: percent,
                CPU_LIMIT_CORES.name: round(cores, 3),
                CPU_THROTTLED_RATIO.name: self._throttled_ratio(files, group),
            }
        )

    def _throttled_ratio(self, files: SystemFiles, group: Cgroup) -> float | None:
        quotas = read_quotas(files, group.cpu)
        # The tightest quota is the one that throttles.
        directory = min(quotas, key=lambda each: quotas[each], default=None)
        table = {} if directory is None else files.table(directory / "cpu.stat")
        periods = self._periods.since_last(table.get("nr_periods"), directory)
        throttled = self._throttled.since_last(table.get("nr_throttled"), directory)
        if periods is None or throttled is None:
            return None
        return round(min(throttled / periods, 1.0), 6) if periods else 0.0


def read_cores(files: SystemFiles, group: Cgroup, machine_cores: int) -> float:
    """Return the number of cores that the group may use, possibly fractional, at most the machine's."""
    limits = [float(machine_cores), *read_quotas(files, group.cpu).values()]
    processors = 0 if group.cpuset is None else read_processors(files, group.cpuset)
    return min([*limits, float(processors)] if processors else limits)


def read_quotas(files: SystemFiles, group: ControlGroup | None) -> dict[Path, float]:
    """Return the quota in cores of each directory up the tree that has one."""
    quotas = {}
    for directory in () if group is None else group.directories:
        if group is not None and group.version == 2:
            quota = parse_cpu_max(files.text(directory / "cpu.max") or "")
        else:
            quota_us = files.number(directory / "cpu.cfs_quota_us")
            quota = parse_quota(quota_us, files.number(directory / "cpu.cfs_period_us"))
        if quota is not None:
            quotas[directory] = quota
    return quotas


def read_processors(files: SystemFiles, group: ControlGroup) -> int:
    """Return how many CPUs the group's cpuset has, 0 if unknown.

    The nearest directory with a value counts: the kernel keeps each set within its parent's.
    """
    names = ("cpuset.cpus.effective",) if group.version == 2 else ("cpuset.effective_cpus", "cpuset.cpus")
    for directory in group.directories:
        for name in names:
            count = parse_cpu_list(files.text(directory / name) or "")
            if count:
                return count
    return 0


def read_used_us(files: SystemFiles, group: ControlGroup) -> float | None:
    """Return the CPU time that the group has used, in microseconds."""
    if group.version == 2:
        return files.table(group.own / "cpu.stat").get("usage_usec")
    used_ns = files.number(group.own / "cpuacct.usage")
    return None if used_ns is None else used_ns / 1_000


def read_machine_used_us() -> float:
    """Return the CPU time that the whole machine has used, in microseconds."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(
        times, "guest_nice", 0.0
    )  # also included in user and nice
    return float(sum(times) - idle - guests) * 1e6


def parse_cpu_max(text: str) -> float | None:
    """Return the cores in cpu.max: `200000 100000` is 2.0, `max 100000` is None."""
    quota, _, period = text.strip().partition(" ")
    return parse_quota(parse_number(quota), parse_number(period) or 100_000)


def parse_quota(quota_us: int | None, period_us: int | None) -> float | None:
    """Return the cores that a quota per period amounts to; None without a quota (version 1 has -1)."""
    return quota_us / period_us if quota_us and quota_us > 0 and period_us else None
