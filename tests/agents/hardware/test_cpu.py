"""CPU percentage of the replica's cores, and changes at run time."""

from __future__ import annotations

import pytest
from tests.agents.hardware.trees.tree import Tree, plant

from endpoint_analytics.agents.hardware.cgroup import OwnCgroup
from endpoint_analytics.agents.hardware.cpu import CpuCollector, parse_cpu_max, parse_quota, read_cores

SECOND_NS = 1_000_000_000
GROUP = "/sys/fs/cgroup"


@pytest.fixture
def container(tmp_path) -> Tree:
    """1.5 cores by quota, processors 0 and 1."""
    return plant("docker_v2", tmp_path)


def sample(collector: CpuCollector, at_s: float) -> dict[str, float | None]:
    return collector.collect(int(at_s * SECOND_NS)).replica


def use(tree: Tree, used_us: int) -> None:
    tree.write(f"{GROUP}/cpu.stat", f"usage_usec {used_us}\nnr_periods 10\nnr_throttled 5")


def test_of_the_cores_that_the_quota_is(container):
    collector = CpuCollector(container.own, machine_cores=8)
    use(container, 5_000_000)
    assert sample(collector, 1)["cpu_percent"] is None
    use(container, 6_125_000)
    assert sample(collector, 2)["cpu_percent"] == 75.0  # 1.125 s of the 1.5 s that a second has
    assert sample(collector, 3)["cpu_percent"] == 0.0


def test_a_quota_that_changes_while_it_runs_counts_from_then_on(container):
    collector = CpuCollector(container.own, machine_cores=8)
    use(container, 0)
    sample(collector, 1)
    container.write(f"{GROUP}/cpu.max", "50000 100000")
    use(container, 1_500_000)
    assert sample(collector, 2) == {"cpu_percent": 100.0, "cpu_limit_cores": 0.5, "cpu_throttled_ratio": 0.0}
    use(container, 2_000_000)
    assert sample(collector, 3)["cpu_percent"] == 100.0
    container.write(f"{GROUP}/cpu.max", "max 100000")
    use(container, 3_000_000)
    assert sample(collector, 4) == {"cpu_percent": 50.0, "cpu_limit_cores": 2.0, "cpu_throttled_ratio": None}
    container.write(f"{GROUP}/cpuset.cpus.effective", "0-3")
    use(container, 4_000_000)
    assert sample(collector, 5)["cpu_percent"] == 25.0


def test_quota_and_cpuset_whichever_is_smaller(container):
    files, groups = container.own.files, container.own.read()
    assert read_cores(files, groups, 64) == 1.5
    container.write(f"{GROUP}/cpuset.cpus.effective", "5")
    assert read_cores(files, groups, 64) == 1.0
    container.write(f"{GROUP}/cpu.max", "12800000 100000")
    container.write(f"{GROUP}/cpuset.cpus.effective", "0-63")
    assert read_cores(files, groups, 16) == 16.0, "a quota above the machine is none"


def test_the_smallest_quota_up_the_tree_counts(tmp_path):
    tree = plant("systemd_service_v2", tmp_path)
    files, groups = tree.own.files, tree.own.read()
    tree.write(f"{GROUP}/system.slice/cpu.max", "30000 100000")
    assert read_cores(files, groups, 64) == 0.3
    tree.write(f"{GROUP}/system.slice/cpu.max", "90000 100000")
    assert read_cores(files, groups, 64) == 0.5


def test_a_container_that_is_pinned_to_two_of_64_has_two(tmp_path):
    tree = plant("docker_v2_cpuset_only", tmp_path)
    assert sample(CpuCollector(tree.own, machine_cores=64), 1)["cpu_limit_cores"] == 2.0


def test_throttling_of_the_tightest_quota_above(tmp_path):
    tree = plant("systemd_service_v2", tmp_path)
    collector = CpuCollector(tree.own, machine_cores=8)
    sample(collector, 1)
    tree.write(f"{GROUP}/system.slice/cpu.max", "30000 100000")
    assert sample(collector, 2)["cpu_throttled_ratio"] is None, "another counter than before"
    tree.edit(tree.path(f"{GROUP}/system.slice/cpu.stat"), "nr_periods 0", "nr_periods 8")
    tree.edit(tree.path(f"{GROUP}/system.slice/cpu.stat"), "nr_throttled 0", "nr_throttled 2")
    assert sample(collector, 3)["cpu_throttled_ratio"] == 0.25


def test_without_a_group_the_machine_counts(tmp_path):
    collector = CpuCollector(OwnCgroup(machine=tmp_path))
    collector._at_ns.since_last(0)
    collector._used_us.since_last(0)
    measured = sample(collector, 10**9)["cpu_percent"]  # since the machine's boot, spread over 30 years
    assert measured is not None
    assert 0 <= measured < 100


def test_a_counter_that_went_back_is_no_reading(container):
    collector = CpuCollector(container.own, machine_cores=8)
    use(container, 2)
    sample(collector, 1)
    use(container, 1)
    assert sample(collector, 2)["cpu_percent"] is None


def test_a_file_that_vanishes_is_said_once_and_the_rest_continues(container, caplog):
    collector = CpuCollector(container.own, machine_cores=8)
    sample(collector, 1)
    container.path(f"{GROUP}/cpu.stat").unlink()
    for at_s in (2, 3, 4):
        found = sample(collector, at_s)
        assert found == {"cpu_percent": None, "cpu_limit_cores": 1.5, "cpu_throttled_ratio": None}
    assert caplog.text.count("cpu.stat, its metrics are missing") == 1
    use(container, 1_000_000)
    assert sample(collector, 5)["cpu_percent"] is None
    use(container, 2_500_000)
    assert sample(collector, 6)["cpu_percent"] == 100.0


def test_a_process_that_is_moved_restarts(tmp_path):
    tree = plant("systemd_service_v2", tmp_path)
    collector = CpuCollector(tree.own, machine_cores=8)
    sample(collector, 1)
    tree.write("/proc/self/cgroup", "0::/system.slice")
    assert sample(collector, 2)["cpu_percent"] is None, "the slice has used more all along"
    assert sample(collector, 3)["cpu_percent"] == 0.0


def test_quotas():
    assert parse_cpu_max("max 100000") is None
    assert parse_cpu_max("50000 100000") == 0.5
    assert parse_cpu_max("50000") == 0.5
    assert parse_cpu_max("") is None
    assert parse_quota(-1, 100_000) is None
    assert parse_quota(None, 100_000) is None
    assert parse_quota(100, None) is None
