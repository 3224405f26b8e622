"""CPU: per cent of the replica's cores, which are its control group's when that has a limit, else the machine's."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import psutil

from endpoint_analytics.agents.hardware.cgroup import (
    Cgroup,
    parse_cpu_list,
    parse_table,
    read_cgroup,
    read_number,
    read_text,
)
from endpoint_analytics.agents.hardware.reading import Delta, Reading
from endpoint_analytics.schemas.metrics import CPU_PERCENT


@dataclass(slots=True)
class CpuCollector:
    """Time used since the sample before, over the time that the cores had. `machine_cores` is for tests."""

    cgroup: Cgroup | None = field(default_factory=read_cgroup)
    machine_cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    _used_us: Delta = field(default_factory=Delta)
    _at_ns: Delta = field(default_factory=Delta)

    def collect(self, at_ns: int) -> Reading:
        """Return `cpu_percent`, 0 to 100 but for the error of two clocks; None at the first sample."""
        cores = read_cores(self.cgroup, self.machine_cores)
        used_us = read_used_us(self.cgroup) if cores is not None else None
        if cores is None or used_us is None:
            cores, used_us = float(self.machine_cores), read_machine_used_us()
        used, elapsed_ns = self._used_us.since_last(used_us), self._at_ns.since_last(at_ns)
        percent = None
        if used is not None and elapsed_ns:
            percent = round(100 * used * 1_000 / (elapsed_ns * cores), 3)
        return Reading(replica={CPU_PERCENT.name: percent})


def read_cores(cgroup: Cgroup | None, machine_cores: int) -> float | None:
    """Return the cores that the group may use, in fractions, or None when it has no limit of its own."""
    if cgroup is None:
        return None
    limits: list[float] = []
    for folder in cgroup.cpu:
        if cgroup.version == 2:
            quota = parse_cpu_max(read_text(folder, "cpu.max") or "")
        else:
            quota = parse_quota(
                read_number(folder, "cpu.cfs_quota_us"), read_number(folder, "cpu.cfs_period_us")
            )
        if quota is not None:
            limits.append(quota)
    for folder in cgroup.cpuset[:1]:
        name = "cpuset.cpus.effective" if cgroup.version == 2 else "cpuset.effective_cpus"
        count = parse_cpu_list(read_text(folder, name) or read_text(folder, "cpuset.cpus") or "")
        if 0 < count < machine_cores:
            limits.append(float(count))
    return min((limit for limit in limits if limit < machine_cores), default=None)


def read_used_us(cgroup: Cgroup | None) -> float | None:
    """Return the processor time that the group has used, in microseconds."""
    if cgroup is None or not cgroup.cpu:
        return None
    folder = cgroup.cpu[0]
    if cgroup.version == 2:
        return parse_table(read_text(folder, "cpu.stat") or "").get("usage_usec")
    used_ns = read_number(folder, "cpuacct.usage")
    if used_ns is None:  # cpuacct may be mounted apart from cpu
        used_ns = read_number(folder.parent / "cpuacct", "cpuacct.usage")
    return None if used_ns is None else used_ns / 1_000


def read_machine_used_us() -> float:
    """Return the processor time that all of the machine has used, in microseconds."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user and nice too
    return float(sum(times) - idle - guests) * 1e6


def parse_cpu_max(text: str) -> float | None:
    """Return the cores in cpu.max: `200000 100000` is 2.0, `max 100000` is None."""
    quota, _, period = text.partition(" ")
    return parse_quota(int(quota) if quota.isdigit() else None, int(period) if period.isdigit() else 100_000)


def parse_quota(quota_us: int | None, period_us: int | None) -> float | None:
    """Return the cores that a quota in each period makes; None without a quota (version 1 says -1)."""
    return quota_us / period_us if quota_us and quota_us > 0 and period_us else None
