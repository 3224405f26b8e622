"""Finding the groups of a process: versions 1 and 2, both at once, and in namespaces."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agents.hardware.trees.tree import plant

from endpoint_analytics.agents.hardware.cgroup import (
    Mount,
    OwnCgroup,
    find_groups,
    parse_cpu_list,
    parse_membership,
    parse_mounts,
)


def names(group):
    return [directory.name for directory in group.directories]


def test_version_2_is_read_upwards(tmp_path):
    groups = plant("systemd_service_v2", tmp_path).own.read()
    assert names(groups.memory) == ["model.service", "system.slice", "cgroup"]
    assert groups.cpu == groups.cpu_time == groups.cpuset == groups.memory == groups.pressure
    assert groups.memory.version == 2
    assert groups.disk is None, "io is not enabled in the service"


def test_version_1_has_a_tree_for_each_controller(tmp_path):
    groups = plant("systemd_hybrid", tmp_path).own.read()
    assert [groups.cpu.version, groups.memory.version] == [1, 1]
    assert [directory.name for directory in groups.cpu.directories] == [
        "model.service",
        "system.slice",
        "cpu,cpuacct",
    ]
    assert names(groups.memory) == ["model.service", "system.slice", "memory"]
    assert names(groups.cpuset) == ["cpuset"], "the service has no cpuset of its own"
    assert groups.pressure is None, "version 2 is there for systemd alone, with the root group"


def test_a_bind_mount_of_the_containers_group_is_the_group(tmp_path):
    groups = plant("docker_v1", tmp_path).own.read()
    assert names(groups.memory) == ["memory"]
    assert names(groups.cpu) == ["cpu,cpuacct"]


def test_the_roots_of_the_hierarchies_are_the_machine(tmp_path):
    groups = plant("bare_metal_v1", tmp_path).own.read()
    assert (groups.cpu_time, groups.memory, groups.disk, groups.pressure) == (None, None, None, None)


def test_a_process_path_outside_the_namespace(tmp_path):
    """The host's hierarchy in a container with its own namespace: its group cannot be found."""
    tree = plant("bare_metal_v2", tmp_path)
    tree.write("/proc/self/cgroup", "0::/")
    tree.write("/proc/self/mountinfo", "30 29 0:23 /../../.. /sys/fs/cgroup ro - cgroup2 cgroup rw")
    assert tree.own.read().memory is None
    tree.write("/proc/self/cgroup", "0::/../sibling")
    assert tree.own.read().memory is None


def test_a_process_that_is_moved_has_other_groups(tmp_path):
    tree = plant("systemd_service_v2", tmp_path)
    before = tree.own.read()
    assert tree.own.read() is before
    tree.write("/proc/self/cgroup", "0::/system.slice")
    assert names(tree.own.read().memory) == ["system.slice", "cgroup"]


def test_a_system_without_groups(tmp_path):
    groups = OwnCgroup(machine=tmp_path).read()
    assert (groups.cpu, groups.cpuset, groups.memory) == (None, None, None)


def test_a_hierarchy_that_is_mounted_twice(tmp_path):
    """A container manager's own mount comes first, and does not show where we are."""
    (tmp_path / "other").mkdir()
    (tmp_path / "ours/group").mkdir(parents=True)
    mounts = [Mount(2, "/elsewhere", tmp_path / "other"), Mount(2, "/", tmp_path / "ours")]
    assert find_groups({"": "/group"}, mounts).cpu.own == tmp_path / "ours/group"


def test_controllers_of_both_versions(tmp_path):
    """CPUs with version 1, memory with version 2, as /proc/self/cgroup says for each."""
    (tmp_path / "cpu/a").mkdir(parents=True)
    (tmp_path / "unified/b").mkdir(parents=True)
    for name in ("cgroup.type", "memory.current"):
        (tmp_path / "unified/b" / name).touch()
    mounts = [Mount(1, "/", tmp_path / "cpu", frozenset({"rw", "cpu"})), Mount(2, "/", tmp_path / "unified")]
    groups = find_groups({"cpu": "/a", "": "/b"}, mounts)
    assert (groups.cpu.version, groups.cpu.own.name) == (1, "a")
    assert (groups.memory.version, groups.memory.own.name) == (2, "b")


def test_membership():
    text = "12:cpu,cpuacct:/a\n3:name=systemd:/b:c\n0::/d (deleted)\n"
    assert parse_membership(text) == {"cpu": "/a", "cpuacct": "/a", "name=systemd": "/b:c", "": "/d"}


def test_mounts():
    text = (
        "23 28 0:21 / /proc rw,nosuid - proc proc rw\n"
        "26 23 0:23 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
        "32 31 0:29 /docker/a\\040b /with\\040space rw shared:1 master:2 - cgroup cgroup rw,cpu,cpuacct\n"
        "bad line\n"
    )
    assert parse_mounts(text) == [
        Mount(2, "/", Path("/sys/fs/cgroup")),
        Mount(1, "/docker/a b", Path("/with space"), frozenset({"rw", "cpu", "cpuacct"})),
    ]


@pytest.mark.parametrize(
    ("text", "count"), [("0-3,8", 5), ("0", 1), ("", 0), ("0-1,4-5\n", 4), ("garbage", 0), ("1-x", 0)]
)
def test_cpu_lists(text, count):
    assert parse_cpu_list(text) == count
