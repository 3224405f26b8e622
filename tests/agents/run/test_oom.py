"""What the kernel counts of kills for want of memory while a server runs."""

from __future__ import annotations

from tests.agents.hardware.trees.tree import plant

from endpoint_analytics.agents.run.oom import OomWatch


def test_of_a_control_group(tmp_path):
    tree = plant("docker_v2", tmp_path)
    watch = OomWatch(tree.own)
    assert watch.has_killed() is False, "the two of before are not its own"
    events = tree.path("/sys/fs/cgroup/memory.events")
    tree.edit(events, "oom_kill 2", "oom_kill 3")
    assert watch.has_killed() is True
    events.unlink()
    assert watch.has_killed() is None


def test_of_the_machine_alone(tmp_path):
    """Its count can show that nothing was killed, but not what was."""
    tree = plant("bare_metal_v1", tmp_path)
    vmstat = tree.path("/proc/vmstat")
    watch = OomWatch(tree.own, vmstat)
    assert watch.has_killed() is False
    tree.edit(vmstat, "oom_kill 1", "oom_kill 2")
    assert watch.has_killed() is None
    assert OomWatch(tree.own, tmp_path / "none").has_killed() is None
