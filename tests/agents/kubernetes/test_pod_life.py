"""Pods of the real API's shape, in scripted lives, to states with Kubernetes's own times."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agents.kubernetes.pods import ScriptedPod, stamp, us

from endpoint_analytics.agents.core.lifecycle import may_follow
from endpoint_analytics.agents.kubernetes.containers import Rules
from endpoint_analytics.agents.kubernetes.objects import Pod
from endpoint_analytics.agents.kubernetes.pod_life import reason_of_going, stages_of
from endpoint_analytics.schemas.limits import MAX_REASON_LENGTH

RULES = Rules()
SECOND = 1_000_000


def read(pod: ScriptedPod) -> Pod:
    return msgspec.json.decode(msgspec.json.encode(pod.json), type=Pod)


def reported(pod: ScriptedPod, rules: Rules = RULES, now: float = 1000) -> list[tuple[float, str, str]]:
    """Return the stages as (seconds after the pod's creation, state, reason)."""
    stages = stages_of(read(pod), rules, us(pod.at(now)))
    return [((stage.at_us - us(pod.begin)) // SECOND, stage.state, stage.reason) for stage in stages]


def states(pod: ScriptedPod, **options) -> list[tuple[float, str]]:
    return [(at, state) for at, state, _ in reported(pod, **options)]


def started(**options) -> ScriptedPod:
    pod = ScriptedPod("llm-1", **options)
    pod.scheduled(1)
    pod.taken_on(2)
    pod.runs(30)
    return pod


def serving(**options) -> ScriptedPod:
    pod = started(**options)
    pod.ready(50)
    return pod


def test_a_normal_start_with_an_image_pull():
    pod = ScriptedPod("llm-1")
    assert states(pod) == [(0, "pending")]
    pod.scheduled(1)
    assert states(pod) == [(0, "pending")]
    pod.taken_on(2)
    assert states(pod) == [(0, "pending"), (2, "pulling")]
    pod.runs(30)
    assert states(pod) == [(0, "pending"), (2, "pulling"), (30, "initializing")]
    pod.ready(50)
    assert reported(pod) == [
        (0, "pending", ""),
        (2, "pulling", ""),
        (30, "initializing", ""),
        (50, "running", ""),
    ]


def test_a_pod_that_fits_nowhere():
    pod = ScriptedPod("llm-1")
    pod.unschedulable(1)
    assert reported(pod)[-1] == (
        1,
        "pending",
        "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    )
    pod.scheduled(300)
    pod.taken_on(301)
    assert reported(pod) == [(0, "pending", ""), (301, "pulling", "")]


def test_a_pod_without_the_container_that_serves_says_so_all_its_life():
    pod = serving()
    why = "--container is llm, but its containers are server"
    rules = Rules(frozenset({"llm"}))
    assert reported(pod, rules=rules) == [(0, "pending", why)]
    pod.deletion_asked(60)
    pod.all_ended(70)
    assert [(at, state) for at, state, _ in reported(pod, rules=rules)] == [
        (0, "pending"),
        (70, "terminated"),
    ]
    assert states(serving(), rules=Rules(frozenset({"llm", "server"})))[-1] == (50, "running")


def test_the_model_is_downloaded_by_an_init_container():
    pod = ScriptedPod("llm-1", init=("storage-initializer", "warm"))
    pod.scheduled(1)
    pod.taken_on(2)
    pod.init_runs(5, "storage-initializer")
    assert reported(pod)[-1] == (5, "downloading", "init container storage-initializer")
    pod.init_done(80, "storage-initializer")
    assert reported(pod)[-1] == (80, "pulling", "")
    pod.init_runs(81, "warm")
    assert reported(pod)[-1] == (81, "initializing", "init container warm")
    pod.init_done(85, "warm")
    pod.runs(90)
    pod.ready(95)
    assert states(pod) == [
        (0, "pending"), (2, "pulling"), (5, "downloading"), (80, "pulling"), (81, "initializing"),
        (90, "initializing"), (95, "running"),
    ]  # fmt: skip
    assert "downloading" not in [state for _, state in states(pod, rules=Rules(downloads=("nothing",)))]


def test_a_download_that_runs_again_downloads():
    """The node was restarted: the init container's previous run had succeeded."""
    pod = ScriptedPod("llm-1", init=("storage-initializer",))
    pod.scheduled(1)
    pod.taken_on(2)
    pod.init_runs(5, "storage-initializer")
    pod.init_done(80, "storage-initializer")
    status = pod._status("storage-initializer", init=True)
    status["lastState"], status["restartCount"] = status["state"], 1
    pod.init_runs(100, "storage-initializer")
    assert reported(pod)[-1] == (100, "downloading", "init container storage-initializer")


def test_what_runs_before_the_download_leaves_the_state():
    pod = ScriptedPod("llm-1", init=("permissions", "model-download"))
    pod.scheduled(1)
    pod.taken_on(2)
    pod.init_runs(3, "permissions")
    pod.init_done(4, "permissions")
    pod.init_runs(5, "model-download")
    assert states(pod) == [(0, "pending"), (2, "pulling"), (5, "downloading")]


def test_an_init_container_that_fails():
    pod = ScriptedPod("llm-1", init=("storage-initializer",))
    pod.scheduled(1)
    pod.taken_on(2)
    pod.init_runs(5, "storage-initializer")
    pod.init_done(9, "storage-initializer", code=2)
    assert reported(pod)[-1] == (9, "failed", "init container storage-initializer: Error: exit code 2")


def test_a_sidecar_counts_neither_as_download_nor_as_server():
    pod = ScriptedPod("llm-1", sidecars=("download-proxy",))
    pod.scheduled(1)
    pod.taken_on(2)
    pod._status("download-proxy", init=True)["state"] = {"running": {"startedAt": "2026-11-20T10:00:10Z"}}
    assert states(pod) == [(0, "pending"), (2, "pulling")]
    pod.runs(30)
    pod.ready(50)
    assert states(pod)[2:] == [(30, "initializing"), (50, "running")]


def test_an_image_that_cannot_be_pulled():
    pod = ScriptedPod("llm-1")
    pod.scheduled(1)
    pod.taken_on(2)
    pod.waits(7, "ErrImagePull", 'failed to pull and unpack image "registry.example/llm:7": not found')
    assert reported(pod)[-1] == (
        7,
        "failed",
        'ErrImagePull: failed to pull and unpack image "registry.example/llm:7": not found',
    )
    pod.waits(22, "ImagePullBackOff", 'Back-off pulling image "registry.example/llm:7"')
    assert reported(pod)[-1] == (
        22,
        "failed",
        'ImagePullBackOff: Back-off pulling image "registry.example/llm:7"',
    )
    assert not stages_of(read(pod), RULES, us(pod.at(30)))[-1].timed
    pod.runs(60)
    pod.ready(61)
    assert states(pod) == [(0, "pending"), (2, "pulling"), (60, "initializing"), (61, "running")]


def test_without_the_servers_notes_a_failure_is_as_of_now():
    pod = ScriptedPod("llm-1")
    pod.scheduled(1)
    pod.taken_on(2)
    pod.waits(7, "InvalidImageName")
    del pod.json["metadata"]["managedFields"]
    assert reported(pod, now=77)[-1] == (77, "failed", "InvalidImageName")


def test_a_crash_loop():
    pod = started()
    pod.crashes(31)
    assert reported(pod)[2:] == [(30, "initializing", ""), (31, "failed", "Error: exit code 1")]
    pod.runs(32)
    assert states(pod)[2:] == [(30, "initializing"), (31, "failed"), (32, "initializing")]
    pod.crashes(33)
    pod.backs_off(34)
    assert reported(pod)[2:] == [
        (32, "initializing", ""),
        (33, "failed", "CrashLoopBackOff after Error: exit code 1"),
    ]
    pod.runs(43)
    assert states(pod)[2:] == [(32, "initializing"), (33, "failed"), (43, "initializing")]
    pod.ready(60)
    assert reported(pod)[-1] == (60, "running", "")


def test_crashes_within_one_second_stay_in_order():
    pod = started()
    seen = {}
    for _ in range(4):
        pod.crashes(30)
        pod.runs(30)
        stages = stages_of(read(pod), RULES, us(pod.at(99)))
        assert [stage.state for stage in stages[-3:]] == ["initializing", "failed", "initializing"]
        for stage in stages:
            assert seen.setdefault(stage.at_us, stage.state) == stage.state
    assert [seen[at_us] for at_us in sorted(seen)] == [
        "pending", "pulling", *["initializing", "failed"] * 4, "initializing",
    ]  # fmt: skip


def test_the_same_moment_has_the_same_time_in_every_later_version():
    """A crash seen when it happens, during back-off, and as the previous run: the same time."""
    pod = started()
    pod.crashes(31, 137, "OOMKilled")
    crash = stages_of(read(pod), RULES, 0)[-1]
    assert crash.reason == "OOMKilled: exit code 137"
    pod.backs_off(32)
    assert stages_of(read(pod), RULES, 0)[-1].at_us == crash.at_us
    pod.runs(50)
    assert [stage.at_us for stage in stages_of(read(pod), RULES, 0) if stage.state == "failed"] == [
        crash.at_us
    ]


def test_a_server_that_ends_by_itself_has_terminated():
    pod = serving()
    pod.crashes(70, 0, "Completed")
    assert reported(pod)[-1] == (70, "terminated", "Completed: exit code 0")


def test_readiness_that_is_lost_and_comes_again():
    pod = serving()
    pod.unready(70)
    assert reported(pod)[2:] == [
        (30, "initializing", ""),
        (70, "draining", "not ready: ContainersNotReady: containers with unready status: [server]"),
    ]
    pod.ready(90)
    assert states(pod)[2:] == [(30, "initializing"), (90, "running")]


@pytest.mark.parametrize("again", [70, 71])
def test_a_restart_that_is_not_ready_yet_is_no_lost_readiness(again):
    pod = serving()
    pod.crashes(70)
    pod.runs(again)
    assert reported(pod)[-1] == (again, "initializing", "")


def lost_container(pod: ScriptedPod, second: float) -> None:
    """The kubelet lost track of a running container: it reports its end without a time, and creates it again."""
    status = pod._status("server")
    ended = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}
    status |= {"state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": {"terminated": ended}}
    status["restartCount"] += 1
    pod.unready(second)


def test_an_end_at_an_unknown_time():
    pod = serving()
    lost_container(pod, 500)
    assert reported(pod)[-1] == (500, "failed", "ContainerStatusUnknown: exit code 137")
    assert not stages_of(read(pod), RULES, us(pod.at(501)))[-1].timed
    status = pod._status("server")
    status["state"] = {"running": {"startedAt": stamp(pod.at(520))}}
    assert states(pod) == [(0, "pending"), (2, "pulling"), (520, "initializing")]


def test_a_container_that_could_not_be_started_was_never_initializing():
    """The runtime reports that it started in 1970."""
    pod = ScriptedPod("llm-1")
    pod.scheduled(1)
    pod.taken_on(2)
    ended = {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z",
             "finishedAt": stamp(pod.at(30))}  # fmt: skip
    pod._status("server")["lastState"] = {"terminated": ended}
    pod.waits(31, "CrashLoopBackOff", "back-off 10s restarting failed container")
    assert reported(pod)[1:] == [
        (2, "pulling", ""),
        (30, "failed", "CrashLoopBackOff after StartError: exit code 128"),
    ]


def test_init_containers_that_run_again_after_the_server_did():
    """The node was restarted: the pod starts again, and the server's previous run stays in its status."""
    pod = ScriptedPod("llm-1", init=("storage-initializer", "warm"))
    pod.scheduled(1)
    pod.taken_on(2)
    for second, name in ((5, "storage-initializer"), (21, "warm")):
        pod.init_runs(second, name)
        pod.init_done(second + 15, name)
    pod.runs(40)
    pod.ready(50)
    pod.crashes(480, 255, "Unknown")
    server = pod._status("server")
    server |= {"lastState": server["state"], "state": {"waiting": {"reason": "PodInitializing"}}}
    pod.init_runs(500, "storage-initializer")
    assert reported(pod)[-1] == (500, "downloading", "init container storage-initializer")
    pod.init_done(580, "storage-initializer")
    pod.init_runs(581, "warm")
    assert reported(pod)[-1] == (581, "initializing", "init container warm")
    pod.init_done(585, "warm")
    server["restartCount"] = 1
    pod.runs(590)
    assert reported(pod)[-1] == (590, "initializing", "")


def test_a_sidecar_that_crashes_before_the_server_starts():
    pod = ScriptedPod("llm-1", sidecars=("proxy",))
    pod.scheduled(1)
    pod.taken_on(2)
    pod.waits(2, "PodInitializing")
    sidecar = pod._status("proxy", init=True)
    began = stamp(pod.at(2))
    sidecar["state"] = {"terminated": pod._ended(began, 20, 1, "Error")}
    assert reported(pod)[-1] == (20, "failed", "sidecar proxy: Error: exit code 1")
    sidecar["lastState"], sidecar["restartCount"] = sidecar["state"], 1
    sidecar["state"] = {"running": {"startedAt": began}}
    assert states(pod) == [(0, "pending"), (2, "pulling")]
    sidecar["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    assert reported(pod)[-1] == (20, "failed", "sidecar proxy: CrashLoopBackOff after Error: exit code 1")
    pod.runs(30)
    pod.ready(50)
    assert reported(pod)[-1] == (
        50,
        "running",
        "",
    )  # what it does to a server that runs is readiness's to say


def test_an_init_container_that_fails_for_good():
    """With restart policy Never, the pod has failed too."""
    pod = ScriptedPod("llm-1", init=("storage-initializer",))
    pod.scheduled(1)
    pod.taken_on(2)
    pod.init_runs(5, "storage-initializer")
    pod.init_done(9, "storage-initializer", code=2)
    pod.json["status"]["phase"] = "Failed"
    assert reported(pod)[-1] == (9, "failed", "init container storage-initializer: Error: exit code 2")
    assert len(reported(pod)) == 4


def test_a_pod_whose_node_is_no_more():
    """The pod garbage collector marks it, and gives the reason only in a condition."""
    pod = serving()
    pod.disrupted(100, "DeletionByPodGC", "PodGC: node no longer exists")
    pod.json["status"]["phase"] = "Failed"
    assert reported(pod)[-1] == (100, "failed", "DeletionByPodGC: PodGC: node no longer exists")


def test_an_eviction():
    pod = serving()
    pod.evicted(80)
    assert reported(pod)[-1][:2] == (81, "failed")
    assert reported(pod)[-1][2].startswith("Evicted: The node was low on resource: memory.")
    pod.deletion_asked(500, 0)  # somebody tidies up: the replica's end was before
    assert reported(pod)[-1][:2] == (81, "failed")
    assert reason_of_going(read(pod), RULES, us(pod.at(501))) is None


def test_an_eviction_that_no_container_shows():
    pod = serving()
    pod.evicted(80)
    pod.json["status"]["containerStatuses"] = []
    assert reported(pod)[-1][:2] == (80, "failed")


def test_a_graceful_deletion_with_a_readiness_gate():
    pod = started(gates=("target-health.example/llm",))
    pod.ready(50)
    assert reported(pod)[-1][:2] == (30, "initializing")
    pod.gate_opens(55)
    assert reported(pod)[-1] == (55, "running", "")
    pod.deletion_asked(100, 60)
    assert reported(pod)[-1] == (100, "draining", "deleted")
    pod.unready(103)
    assert reported(pod)[-1] == (100, "draining", "deleted")
    pod.all_ended(117, 0)
    assert reported(pod)[-2:] == [(100, "draining", "deleted"), (117, "terminated", "")]
    pod.deletion_asked(100, 0)  # a shorter grace period leaves the request where it was
    assert reported(pod)[-2:] == [(100, "draining", "deleted"), (117, "terminated", "")]
    assert reason_of_going(read(pod), RULES, us(pod.at(118))) is None


def test_a_server_killed_after_its_grace_period_has_terminated_and_says_how():
    pod = serving()
    pod.deletion_asked(100)
    pod.all_ended(130, 137)
    assert reported(pod)[-1] == (130, "terminated", "Error: exit code 137")


def test_a_deletion_by_the_eviction_api_says_so():
    pod = serving()
    pod.disrupted(100, "EvictionByEvictionAPI", "Eviction API: evicting")
    pod.deletion_asked(100)
    assert reported(pod)[-1] == (100, "draining", "EvictionByEvictionAPI: Eviction API: evicting")


def test_a_pod_deleted_before_it_started_does_not_drain():
    pod = ScriptedPod("llm-1")
    pod.scheduled(1)
    pod.taken_on(2)
    pod.deletion_asked(5)
    assert reported(pod)[-1] == (2, "pulling", "")
    assert reason_of_going(read(pod), RULES, us(pod.at(6))) == "deleted"


def test_a_node_that_is_lost():
    pod = serving()
    pod.kubelet_lost(100)
    assert reported(pod)[-1] == (100, "draining", "not ready")
    pod.disrupted(400, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
    pod.deletion_asked(400)
    assert reported(pod)[-1] == (
        400,
        "draining",
        "DeletionByTaintManager: Taint manager: deleting due to NoExecute taint",
    )
    pod.json["status"] |= {
        "reason": "NodeLost",
        "message": "Node gpu-node-3 which was running pod llm-1 is unresponsive",
    }
    assert reported(pod)[-1] == (
        400,
        "failed",
        "NodeLost: Node gpu-node-3 which was running pod llm-1 is unresponsive",
    )
    assert reason_of_going(read(pod), RULES, us(pod.at(700))).startswith("DeletionByTaintManager")


def test_only_the_named_containers_count():
    pod = ScriptedPod("llm-1", containers=("server", "istio-proxy"))
    pod.scheduled(1)
    pod.taken_on(2)
    pod.runs(10, "istio-proxy")
    assert states(pod)[-1] == (2, "pulling")
    pod.runs(30, "server")
    assert states(pod)[-1] == (30, "initializing")
    assert states(pod, rules=Rules(serving=frozenset({"istio-proxy"})))[-1] == (10, "initializing")


def test_one_container_that_crashes_while_another_starts_again():
    pod = ScriptedPod("llm-1", containers=("server", "tokenizer"))
    pod.scheduled(1)
    pod.taken_on(2)
    pod.runs(10, "server")
    pod.runs(11, "tokenizer")
    assert states(pod)[-1] == (11, "initializing")
    pod.crashes(20, name="server")
    pod.crashes(21, name="tokenizer")
    pod.runs(22, "tokenizer")
    assert states(pod)[-1][1] == "failed"
    pod.runs(30, "server")
    assert states(pod)[-1] == (30, "initializing")


def test_clocks_that_differ_between_machines_do_not_turn_a_life_around():
    pod = ScriptedPod("llm-1")
    pod.scheduled(1)
    pod.taken_on(-5)
    pod.runs(-3)
    pod.ready(2)
    assert [state for _, state in states(pod)] == ["pending", "pulling", "initializing", "running"]
    at_us = [stage.at_us for stage in stages_of(read(pod), RULES, 0)]
    assert at_us == sorted(set(at_us))


def test_a_reason_is_cut_to_what_a_message_takes():
    pod = ScriptedPod("llm-1")
    pod.unschedulable(1, "x" * 5000)
    assert len(reported(pod)[-1][2]) == MAX_REASON_LENGTH


@pytest.mark.parametrize("status", [{}, {"phase": "Unknown"}, {"phase": "Failed"}, {"phase": "Succeeded"}])
def test_a_pod_that_says_next_to_nothing(status):
    pod = ScriptedPod("llm-1")
    pod.json["status"] = status
    assert states(pod)[0] == (0, "pending")


HAPPENINGS = ("unready", "ready", "crashes", "runs", "backs_off", "deletion_asked", "waits", "evicted")


@given(st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, 3)), max_size=12))
def test_whatever_happens_times_rise_and_states_follow_the_lifecycle(happenings):
    pod, at = started(), 30
    for what, after in happenings:
        at += after
        state = pod._status("server")["state"]
        if pod.json["status"]["phase"] == "Failed":
            continue
        if what in {"crashes", "evicted", "ready", "unready"} and "running" not in state:
            continue
        if (what == "backs_off" and "terminated" not in state) or (what == "runs" and "running" in state):
            continue
        getattr(pod, what)(at, *(("CreateContainerError",) if what == "waits" else ()))
        if what == "waits":
            continue
        stages = stages_of(read(pod), RULES, us(pod.at(at)))
        at_us = [stage.at_us for stage in stages]
        assert at_us == sorted(set(at_us))
        pairs = list(pairwise(stages))
        assert all(may_follow(one.state, other.state) or one.state == other.state for one, other in pairs)
