"""CPU and memory of a tree of real processes."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from endpoint_analytics.agents.hardware.cgroup import Cgroup
from endpoint_analytics.agents.run.tree import TreeCollector, has_limit

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
    collector = TreeCollector(psutil.Process(parent.pid), 10**12, machine_cores=2)
    begin_ns = time.monotonic_ns()
    first = collector.collect(begin_ns).replica
    assert first["cpu_percent"] is None
    assert parent.stdout.readline() == b"waited\n"
    now_ns = time.monotonic_ns()
    reading = collector.collect(now_ns).replica
    used_s = reading["cpu_percent"] / 100 * 2 * (now_ns - begin_ns) / 1e9
    assert used_s > 0.2  # the child's 0.3 s, which it may have begun before the first look
    assert 50e6 < reading["memory_used_bytes"] < 150e6
    assert reading["memory_limit_bytes"] == 10**12


def test_a_root_that_has_ended_is_an_error_that_the_sampler_tells():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(psutil.NoSuchProcess):
        TreeCollector(psutil.Process(process.pid), 1).collect(0)


def test_a_limit_makes_the_control_group_the_replica(version_2):
    assert has_limit(version_2, 10**12)
    assert not has_limit(None, 10**12)
    assert not has_limit(Cgroup(2), 10**12)
