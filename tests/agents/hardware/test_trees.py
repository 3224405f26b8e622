"""Control groups of real systems: each recorded tree, and what an operator of that system expects to see."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.agents.hardware.trees.tree import NAMES, Tree, plant

from endpoint_analytics.agents.hardware.cpu import CpuCollector
from endpoint_analytics.agents.hardware.memory import MemoryCollector
from endpoint_analytics.agents.hardware.pressure import PressureCollector

MIB = 1024**2
MACHINE_CORES, MACHINE_BYTES = 64, 512 * 1024 * MIB
SECOND_NS = 10**9


@dataclass(frozen=True)
class Expected:
    """`used` is the memory that the group uses and the page cache of it that can go; None: the machine's."""

    cores: float
    limit: int
    used: tuple[int, int] | None
    kills: int
    hits: int | None
    usage_file: str | None
    """Where the processor time is."""
    quota_file: str | None = None
    """Where the scheduler's periods are."""


V2 = "/sys/fs/cgroup"
V1 = "/sys/fs/cgroup/cpu,cpuacct"
POD = f"{V2}/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0b3c5d1e_7a2f_4c61_9d80_5e6f7a8b9c0d.slice"
CONTAINER = "9c1d2e3f4a5b60718293a4b5c6d7e8f90112233445566778899aabbccddeeff0"
EXPECTED = {
    # No limit, but a cpuset of the machine's four processors that the recording was made on.
    "bare_metal_v2": Expected(
        4.0,
        MACHINE_BYTES,
        (18837504, 17825792),
        0,
        0,
        f"{V2}/user.slice/user-1000.slice/session-3.scope/cpu.stat",
    ),
    "systemd_service_v2": Expected(
        0.5,
        200 * MIB,
        (18948096, 17825792),
        0,
        0,
        SERVICE := f"{V2}/system.slice/model.service/cpu.stat",
        SERVICE,
    ),
    "docker_v2": Expected(1.5, 96 * MIB, (761856, 0), 2, 177, f"{V2}/cpu.stat", f"{V2}/cpu.stat"),
    "docker_v2_cpuset_only": Expected(2.0, MACHINE_BYTES, (18612224, 17825792), 0, 0, f"{V2}/cpu.stat"),
    "kubernetes_v2": Expected(1.0, 128 * MIB, (18808832, 17825792), 0, 0, f"{V2}/cpu.stat", f"{V2}/cpu.stat"),
    "kubernetes_v2_host_namespace": Expected(
        2.0,
        160 * MIB,
        (1069056, 0),
        1,
        0,
        f"{POD}/cri-containerd-{CONTAINER}.scope/cpu.stat",
        f"{POD}/cpu.stat",
    ),
    "podman_rootless_v2": Expected(
        0.5, 64 * MIB, (18771968, 17825792), 0, 0, f"{V2}/cpu.stat", f"{V2}/cpu.stat"
    ),
    "lxc_v2": Expected(2.0, 150 * MIB, (18649088, 17825792), 0, 0, SERVICE),
    "docker_v1": Expected(1.5, 96 * MIB, (712704, 0), 1, 4537, f"{V1}/cpuacct.usage", f"{V1}/cpu.stat"),
    "kubernetes_v1": Expected(
        0.5, 80 * MIB, (18653184, 17825792), 0, 0, f"{V1}/cpuacct.usage", f"{V1}/cpu.stat"
    ),
    "systemd_hybrid": Expected(
        0.7,
        120 * MIB,
        (18710528, 17825792),
        0,
        0,
        f"{V1}/system.slice/model.service/cpuacct.usage",
        f"{V1}/system.slice/model.service/cpu.stat",
    ),
    "bare_metal_v1": Expected(4.0, MACHINE_BYTES, None, 1, None, None),
    "virtual_machine_v1": Expected(2.0, MACHINE_BYTES, (349433856, 117178368), 0, 0, None),
}


def test_every_tree_has_its_figures():
    assert sorted(EXPECTED) == NAMES


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def tree(name, tmp_path):
    return plant(name, tmp_path)


def memory(tree: Tree) -> dict[str, float | None]:
    return MemoryCollector(tree.own, MACHINE_BYTES, tree.path("/proc/vmstat")).collect(0).replica


def test_processors(name, tree):
    expected = EXPECTED[name]
    collector = CpuCollector(tree.own, MACHINE_CORES)
    first = collector.collect(SECOND_NS).replica
    assert first == {"cpu_percent": None, "cpu_limit_cores": expected.cores, "cpu_throttled_ratio": None}
    if expected.usage_file is None:
        assert tree.own.read().cpu_time is None
        return
    spend(tree, expected.usage_file, 100_000)
    second = collector.collect(2 * SECOND_NS).replica
    assert second["cpu_percent"] == pytest.approx(10 / expected.cores, abs=0.001)
    if expected.quota_file is None:
        assert second["cpu_throttled_ratio"] is None
        return
    assert second["cpu_throttled_ratio"] == 0.0, "no period began"
    throttle(tree, expected.quota_file, periods=10, throttled=3)
    assert collector.collect(3 * SECOND_NS).replica["cpu_throttled_ratio"] == 0.3


def test_memory(name, tree):
    expected = EXPECTED[name]
    found = memory(tree)
    assert found["memory_limit_bytes"] == expected.limit
    assert found["oom_kills"] == expected.kills
    assert found["memory_limit_hits"] == expected.hits
    if expected.used is None:
        assert tree.own.read().memory is None
    else:
        usage, cache = expected.used
        assert found["memory_used_bytes"] == usage - cache


def test_pressure_is_the_groups_or_the_machines(name, tree):
    collector = PressureCollector(tree.own, tree.path("/proc/pressure"))
    assert set(collector.collect(SECOND_NS).replica.values()) == {None}
    group = tree.own.read().pressure
    path = tree.path("/proc/pressure/cpu") if group is None else group.own / "cpu.pressure"
    text = path.read_text()
    total = int(text.split("total=")[1].split()[0])
    path.write_text(text.replace(f"total={total}", f"total={total + 250_000}", 1))
    assert collector.collect(2 * SECOND_NS).replica == {
        "cpu_pressure_ratio": 0.25,
        "memory_pressure_ratio": 0.0,
    }


def spend(tree: Tree, file: str, used_us: int) -> None:
    """The group uses so much processor time."""
    path = tree.path(file)
    if path.name == "cpuacct.usage":
        path.write_text(str(int(path.read_text()) + used_us * 1_000))
        return
    grow(path, "usage_usec", used_us)


def throttle(tree: Tree, file: str, *, periods: int, throttled: int) -> None:
    grow(tree.path(file), "nr_periods", periods)
    grow(tree.path(file), "nr_throttled", throttled)


def grow(path, field: str, by: int) -> None:
    lines = dict(line.split() for line in path.read_text().splitlines())
    lines[field] = str(int(lines[field]) + by)
    path.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
