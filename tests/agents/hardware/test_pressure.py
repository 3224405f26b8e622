"""The fraction of time in which tasks waited."""

from __future__ import annotations

import pytest
from tests.agents.hardware.trees.tree import plant

from endpoint_analytics.agents.hardware.cgroup import OwnCgroup
from endpoint_analytics.agents.hardware.pressure import PressureCollector, parse_some_us


def test_a_kernel_without_it_reports_nothing(tmp_path, caplog):
    collector = PressureCollector(OwnCgroup(machine=tmp_path), tmp_path / "none")
    for at_ns in (1, 2):
        assert collector.collect(at_ns).replica == {"cpu_pressure_ratio": None, "memory_pressure_ratio": None}
    assert not caplog.records


def test_it_is_never_above_one(tmp_path):
    tree = plant("docker_v2", tmp_path)
    collector = PressureCollector(tree.own)
    tree.write("/sys/fs/cgroup/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0")
    collector.collect(0)
    tree.write("/sys/fs/cgroup/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1010000")
    assert collector.collect(10**9).replica["memory_pressure_ratio"] == 1.0


@pytest.mark.parametrize(
    ("text", "total_us"),
    [
        ("some avg10=1.60 avg60=0.66 avg300=0.15 total=573320\nfull avg10=0.00 total=7\n", 573320),
        ("full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n", None),
        ("\n", None),
        ("some total=x", None),
    ],
)
def test_totals(text, total_us):
    assert parse_some_us(text) == total_us
