"""Finding the group's folders and reading its files, versions 1 and 2."""

from __future__ import annotations

import pytest

from endpoint_analytics.agents.hardware.cgroup import (
    parse_cpu_list,
    parse_membership,
    parse_table,
    read_cgroup,
    read_number,
)


def names(folders):
    return [folder.name for folder in folders]


def test_version_2_is_read_upwards(version_2):
    assert version_2.version == 2
    assert names(version_2.memory) == ["container", "pod", "mount"]


def test_version_1_has_a_tree_for_each_controller(version_1):
    assert version_1.version == 1
    assert [folder.parts[-3] for folder in version_1.cpu[:1]] == ["cpu,cpuacct"]
    assert names(version_1.memory) == ["abc", "docker", "memory"]
    assert names(version_1.cpuset)[-1] == "cpuset"


def test_a_container_without_a_namespace_sees_its_group_at_the_root(write, read):
    write("", **{"cgroup.controllers": "cpu memory", "memory.current": "5"})
    group = read("0::/system.slice/docker-abc.scope\n")
    assert names(group.memory) == ["mount"]


def test_a_path_outside_the_namespace_is_the_root(write, read):
    write("", **{"cgroup.controllers": "cpu memory"})
    assert names(read("0::/../sibling\n").memory) == ["mount"]


def test_a_system_without_groups(read, tmp_path):
    assert read("0::/\n") is None
    assert read_cgroup(tmp_path, tmp_path / "no such file") is None


def test_membership():
    text = "12:cpu,cpuacct:/a\n3:name=systemd:/b:c\n0::/d\n"
    assert parse_membership(text) == {"cpu": "/a", "cpuacct": "/a", "name=systemd": "/b:c", "": "/d"}


def test_tables_and_numbers(tmp_path):
    assert parse_table("usage_usec 12\nnr_periods 0\nbad\nworse x\n") == {"usage_usec": 12, "nr_periods": 0}
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "minus").write_text("-1\n")
    assert read_number(tmp_path, "max") is None
    assert read_number(tmp_path, "minus") == -1
    assert read_number(tmp_path, "none") is None


@pytest.mark.parametrize(("text", "count"), [("0-3,8", 5), ("0", 1), ("", 0), ("0-1,4-5\n", 4)])
def test_cpu_lists(text, count):
    assert parse_cpu_list(text) == count
