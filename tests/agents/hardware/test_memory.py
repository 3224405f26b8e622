"""Memory used, its cache left out, and the limit."""

from __future__ import annotations

import psutil

from endpoint_analytics.agents.hardware.memory import MemoryCollector, read_limit_bytes, read_used_bytes

MACHINE = 64 * 1024**3


def test_version_2(version_2):
    assert MemoryCollector(version_2, MACHINE).collect(0).replica == {
        "memory_used_bytes": 750_000_000,
        "memory_limit_bytes": 1_610_612_736,  # the pod's, which is lower than the container's
    }


def test_version_1(version_1):
    assert MemoryCollector(version_1, MACHINE).collect(0).replica == {
        "memory_used_bytes": 500_000_000,
        "memory_limit_bytes": 2_147_483_648,
    }


def test_a_limit_above_the_machine_is_the_machines(version_1, write):
    write("memory/docker/abc", **{"memory.limit_in_bytes": "9223372036854771712"})
    assert MemoryCollector(version_1, MACHINE).collect(0).replica["memory_limit_bytes"] == MACHINE


def test_no_limit_is_the_machines(version_2, write):
    write("pod", **{"memory.max": "max"})
    write("pod/container", **{"memory.max": "max"})
    assert read_limit_bytes(version_2) is None
    assert MemoryCollector(version_2, MACHINE).collect(0).replica["memory_limit_bytes"] == MACHINE


def test_without_a_group_the_machine_counts():
    reading = MemoryCollector(None).collect(0).replica
    total = psutil.virtual_memory().total
    assert reading["memory_limit_bytes"] == total
    assert 0 < reading["memory_used_bytes"] < total


def test_a_group_that_does_not_tell(write, read):
    write("", **{"cgroup.controllers": "cpu"})  # the root of version 2 has no memory.current
    assert read_used_bytes(read("0::/\n")) is None
