"""Bytes since the sample before."""

from __future__ import annotations

from dataclasses import dataclass

from tests.agents.hardware.trees.tree import plant

from endpoint_analytics.agents.hardware.disk import DiskCollector, Moved, parse_io_stat, read_machine_bytes
from endpoint_analytics.agents.hardware.network import NetworkCollector, add_up
from endpoint_analytics.agents.hardware.reading import Delta
from endpoint_analytics.agents.hardware.stacked_devices import counted_interfaces, read_interfaces


@dataclass
class Counters:
    bytes_recv: int
    bytes_sent: int


def test_the_loopback_is_left_out(tmp_path):
    interfaces = {"lo": Counters(1_000, 1_000), "eth0": Counters(3, 4), "eth1": Counters(10, 20)}
    counted = counted_interfaces(read_interfaces(interfaces.keys(), tmp_path))
    assert add_up(interfaces, counted) == (13, 24)
    assert add_up({}, counted) == (0, 0)


def test_the_first_sample_has_no_difference():
    collector = NetworkCollector()
    assert collector.collect(0).replica == {"network_received_bytes": None, "network_sent_bytes": None}
    second = collector.collect(1).replica
    assert second["network_received_bytes"] >= 0
    assert second["network_sent_bytes"] >= 0


def test_version_2_counts_the_group(tmp_path):
    tree = plant("kubernetes_v2", tmp_path)
    collector = DiskCollector(tree.own)
    assert collector.collect(0).replica == {"disk_read_bytes": None, "disk_written_bytes": None}
    tree.write("/sys/fs/cgroup/io.stat", "254:0 rbytes=17826000 wbytes=5 rios=17 wios=1 dbytes=0 dios=0")
    assert collector.collect(1).replica == {"disk_read_bytes": 208, "disk_written_bytes": 5}
    tree.path("/sys/fs/cgroup/io.stat").unlink()
    assert collector.collect(2).replica == {"disk_read_bytes": None, "disk_written_bytes": None}


def test_io_stat_without_devices():
    assert parse_io_stat("") == {}
    assert parse_io_stat("8:0 \n259:0 rbytes=5") == {"259:0": Moved(5, 0)}


def test_without_a_group_the_machine_counts():
    moved = read_machine_bytes()
    assert moved is None or all(each.read >= 0 and each.written >= 0 for each in moved.values())


def test_differences():
    delta = Delta()
    assert [delta.since_last(value) for value in (5, 8, None, 9, 7, 7)] == [None, 3, None, None, None, 0]
    assert [delta.since_last(value, of) for value, of in ((9, "a"), (10, "a"), (30, "b"))] == [None, 1, None]
