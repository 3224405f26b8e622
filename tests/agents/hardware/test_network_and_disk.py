"""Bytes since the sample before."""

from __future__ import annotations

from dataclasses import dataclass

from endpoint_analytics.agents.hardware.disk import DiskCollector, parse_io_stat, read_disk_bytes
from endpoint_analytics.agents.hardware.network import NetworkCollector, add_up
from endpoint_analytics.agents.hardware.reading import Delta


@dataclass
class Counters:
    bytes_recv: int
    bytes_sent: int


def test_the_loopback_is_left_out():
    interfaces = {"lo": Counters(1_000, 1_000), "eth0": Counters(3, 4), "eth1": Counters(10, 20)}
    assert add_up(interfaces) == (13, 24)
    assert add_up({}) == (0, 0)


def test_the_first_sample_has_no_difference():
    collector = NetworkCollector()
    assert collector.collect(0).replica == {"network_received_bytes": None, "network_sent_bytes": None}
    second = collector.collect(1).replica
    assert second["network_received_bytes"] >= 0
    assert second["network_sent_bytes"] >= 0


def test_version_2_counts_the_group(version_2, write):
    assert read_disk_bytes(version_2) == (1_030, 204)
    collector = DiskCollector(version_2)
    assert collector.collect(0).replica == {"disk_read_bytes": None, "disk_written_bytes": None}
    write("pod/container", **{"io.stat": "8:0 rbytes=1500 wbytes=204"})
    assert collector.collect(1).replica == {"disk_read_bytes": 470, "disk_written_bytes": 0}


def test_io_stat_without_devices():
    assert parse_io_stat("") == (0, 0)
    assert parse_io_stat("8:0 \n259:0 rbytes=5") == (5, 0)


def test_without_a_group_the_machine_counts():
    read, written = read_disk_bytes(None)
    assert (read is None) == (written is None)


def test_differences():
    delta = Delta()
    assert [delta.since_last(value) for value in (5, 8, None, 9, 7, 7)] == [None, 3, None, None, None, 0]
