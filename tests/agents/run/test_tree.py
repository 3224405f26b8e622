"""CPU and memory of a tree of real processes."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest
from tests.agents.hardware.trees.tree import plant

from endpoint_analytics.agents.hardware.sampler import Sampler
from endpoint_analytics.agents.run.tree import LaunchedCollector, TreeCollector, has_limit, run_collectors
from endpoint_analytics.schemas.metrics import HARDWARE_METRICS

BUSY = """
import os, sys, time
data = bytearray(50_000_000)
if len(sys.argv) > 1:
    os.waitpid(os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, sys.argv[1]]), 0)
    print("waited", flush=True)
else:
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
    os._exit(0)
sys.stdin.read()
"""


@pytest.fixture
def parent(tmp_path):
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    process = subprocess.Popen(
        [sys.executable, str(script), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    yield process
    process.kill()
    process.communicate()


def test_the_time_of_a_process_that_has_ended_is_not_lost(parent):
    collector = TreeCollector(psutil.Process(parent.pid), machine_cores=2)
    begin_ns = time.monotonic_ns()
    first = collector.collect(begin_ns).replica
    assert first["cpu_percent"] is None
    assert parent.stdout.readline() == b"waited\n"
    now_ns = time.monotonic_ns()
    reading = collector.collect(now_ns).replica
    used_s = reading["cpu_percent"] / 100 * 2 * (now_ns - begin_ns) / 1e9
    assert used_s > 0.2  # the child's 0.3 s, which it may have begun before the first look
    assert 50e6 < reading["memory_used_bytes"] < 150e6


def test_a_root_that_has_ended_is_an_error_that_the_sampler_reports():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(psutil.NoSuchProcess):
        TreeCollector(psutil.Process(process.pid), 1).collect(0)


@pytest.mark.parametrize(
    ("name", "bounded"),
    [
        ("docker_v2", True),
        ("docker_v2_cpuset_only", True),
        ("kubernetes_v1", True),
        ("systemd_service_v2", True),
        ("bare_metal_v1", False),
        ("virtual_machine_v1", False),
    ],
)
def test_a_limit_makes_the_control_group_the_replica(tmp_path, name, bounded):
    assert has_limit(plant(name, tmp_path).own, 4, 10**12) is bounded


def test_a_limit_that_comes_and_goes(tmp_path, parent):
    """CPU and memory are both the group's, or both the tree's; a change is a first sample."""
    tree = plant("docker_v2", tmp_path)
    group, second_ns = "/sys/fs/cgroup", 10**9
    collector = LaunchedCollector(tree.own, psutil.Process(parent.pid), 10**12, 4)
    assert parent.stdout.readline() == b"waited\n"
    found = [collector.collect(at * second_ns).replica for at in (1, 2)]
    assert [each["cpu_percent"] for each in found] == [None, 0.0]
    assert found[1]["memory_used_bytes"] == 761856
    assert (found[1]["cpu_limit_cores"], found[1]["memory_limit_bytes"]) == (1.5, 96 * 1024**2)

    tree.write(f"{group}/cpu.max", "max 100000")
    tree.write(f"{group}/memory.max", "max")
    tree.write(f"{group}/cpuset.cpus.effective", "0-3")
    found = [collector.collect(at * second_ns).replica for at in (3, 4)]
    assert found[0]["cpu_percent"] is None
    assert found[1]["cpu_percent"] is not None
    assert 50e6 < found[1]["memory_used_bytes"] < 150e6
    assert (found[1]["cpu_limit_cores"], found[1]["memory_limit_bytes"]) == (4.0, 10**12)
    assert found[1]["oom_kills"] == 2, "no tree has such a count"

    tree.write(f"{group}/memory.max", "200000000")
    found = [collector.collect(at * second_ns).replica for at in (5, 6)]
    assert [each["cpu_percent"] for each in found] == [None, 0.0]
    assert (found[1]["memory_used_bytes"], found[1]["memory_limit_bytes"]) == (761856, 200_000_000)


def test_the_launcher_reads_every_metric_of_a_replica():
    found = Sampler(run_collectors()).sample(0).replica
    assert set(found) == {metric.name for metric in HARDWARE_METRICS if not metric.per_device}
