"""CPU per cent of the replica's cores."""

from __future__ import annotations

import pytest

from endpoint_analytics.agents.hardware.cgroup import Cgroup
from endpoint_analytics.agents.hardware.cpu import CpuCollector, parse_cpu_max, parse_quota, read_cores

SECOND_NS = 1_000_000_000


def percent(collector: CpuCollector, at_s: float) -> float | None:
    return collector.collect(int(at_s * SECOND_NS)).replica["cpu_percent"]


def test_version_2_against_its_quota(version_2, write):
    collector = CpuCollector(version_2, machine_cores=8)
    assert percent(collector, 1) is None
    write("pod/container", **{"cpu.stat": "usage_usec 6500000"})
    assert percent(collector, 2) == 75.0  # 1.5 s of the 2 s that two cores have in a second
    write("pod/container", **{"cpu.stat": "usage_usec 6500000"})
    assert percent(collector, 3) == 0.0


def test_version_1_against_its_quota(version_1, write):
    collector = CpuCollector(version_1, machine_cores=8)
    assert percent(collector, 1) is None
    write("cpu,cpuacct/docker/abc", **{"cpuacct.usage": "7250000000"})
    assert percent(collector, 2) == 50.0


def test_the_lowest_limit_counts(version_2, write):
    assert read_cores(version_2, 8) == 2.0
    write("pod", **{"cpu.max": "150000 100000"})
    assert read_cores(version_2, 8) == 1.5
    write("pod/container", **{"cpuset.cpus.effective": "3"})
    assert read_cores(version_2, 8) == 1.0


def test_a_processor_set_is_a_limit(version_1, write):
    write("cpu,cpuacct/docker/abc", **{"cpu.cfs_quota_us": "-1"})
    assert read_cores(version_1, 8) == 3.0
    assert read_cores(version_1, 3) is None


def test_a_quota_above_the_machine_is_none(version_2):
    assert read_cores(version_2, 2) is None


@pytest.mark.parametrize("cgroup", [None, Cgroup(2)])
def test_without_a_limit_the_machine_counts(cgroup):
    collector = CpuCollector(cgroup)
    collector._at_ns.since_last(0)
    collector._used_us.since_last(0)
    measured = percent(collector, 10**9)  # since the machine's boot, spread over 30 years
    assert measured is not None
    assert 0 <= measured < 100


def test_a_counter_that_went_back_is_no_reading(version_2, write):
    collector = CpuCollector(version_2, machine_cores=8)
    percent(collector, 1)
    write("pod/container", **{"cpu.stat": "usage_usec 1"})
    assert percent(collector, 2) is None


def test_quotas():
    assert parse_cpu_max("max 100000") is None
    assert parse_cpu_max("50000 100000") == 0.5
    assert parse_cpu_max("") is None
    assert parse_quota(-1, 100_000) is None
    assert parse_quota(None, 100_000) is None
    assert parse_quota(100, None) is None
