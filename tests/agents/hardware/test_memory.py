"""Memory without reclaimable page cache, its limit, and OOM kills."""

from __future__ import annotations

import psutil
import pytest
from tests.agents.hardware.trees.tree import Tree, plant

from endpoint_analytics.agents.hardware.cgroup import OwnCgroup
from endpoint_analytics.agents.hardware.memory import MemoryCollector

MACHINE = 64 * 1024**3
GROUP = "/sys/fs/cgroup"


def sample(tree: Tree) -> dict[str, float | None]:
    return MemoryCollector(tree.own, MACHINE).collect(0).replica


@pytest.fixture
def container(tmp_path) -> Tree:
    return plant("docker_v2", tmp_path)


def test_a_limit_that_changes_while_it_runs(container):
    for text, limit in (("2147483648", 2 * 1024**3), ("max", MACHINE), (f"{2 * MACHINE}", MACHINE)):
        container.write(f"{GROUP}/memory.max", text)
        assert sample(container)["memory_limit_bytes"] == limit


def test_the_smallest_limit_up_the_tree_counts(tmp_path):
    tree = plant("systemd_service_v2", tmp_path)
    tree.write(f"{GROUP}/system.slice/memory.max", "100000000")
    assert sample(tree)["memory_limit_bytes"] == 100_000_000


@pytest.mark.parametrize("text", ["9223372036854771712", "9223372036854710272", "-1"])
def test_no_limit_of_version_1(tmp_path, text):
    tree = plant("kubernetes_v1", tmp_path)
    tree.write(f"{GROUP}/memory/memory.limit_in_bytes", text)
    stat = tree.path(f"{GROUP}/memory/memory.stat")
    tree.edit(stat, "hierarchical_memory_limit 83886080", "hierarchical_memory_limit 9223372036854771712")
    assert sample(tree)["memory_limit_bytes"] == MACHINE


def test_oom_kills_are_counted_since_the_group_began(container):
    events = container.path(f"{GROUP}/memory.events")
    assert sample(container)["oom_kills"] == 2
    container.edit(events, "oom_kill 2", "oom_kill 3")
    assert sample(container)["oom_kills"] == 3


def test_kills_in_groups_below_count_too(container):
    """`memory.events.local` would not count them."""
    container.edit(container.path(f"{GROUP}/memory.events"), "oom_kill 2", "oom_kill 7")
    assert "oom_kill 2" in container.path(f"{GROUP}/memory.events.local").read_text()
    assert sample(container)["oom_kills"] == 7


def test_a_file_that_vanishes_is_said_once_and_the_rest_continues(container, caplog):
    collector = MemoryCollector(container.own, MACHINE)
    collector.collect(0)
    container.path(f"{GROUP}/memory.events").unlink()
    for _ in range(3):
        found = collector.collect(0).replica
        assert (found["oom_kills"], found["memory_limit_hits"]) == (None, None)
        assert found["memory_used_bytes"] == 761856
    assert caplog.text.count("memory.events, its metrics are missing") == 1


def test_use_without_its_page_cache_being_known_is_no_figure(container):
    """Usage would jump by the whole page cache."""
    collector = MemoryCollector(container.own, MACHINE)
    collector.collect(0)
    container.path(f"{GROUP}/memory.stat").unlink()
    assert collector.collect(0).replica["memory_used_bytes"] is None


def test_without_a_group_the_machine_counts(tmp_path):
    reading = MemoryCollector(OwnCgroup(machine=tmp_path)).collect(0).replica
    total = psutil.virtual_memory().total
    assert reading["memory_limit_bytes"] == total
    assert 0 < reading["memory_used_bytes"] < total
    assert reading["memory_limit_hits"] is None
    assert reading["oom_kills"] >= 0


def test_a_group_without_the_memory_controller_is_the_machine(tmp_path):
    tree = plant("bare_metal_v2", tmp_path)
    tree.path(f"{GROUP}/user.slice/user-1000.slice/session-3.scope/memory.current").unlink()
    assert sample(tree)["memory_used_bytes"] > 18837504
