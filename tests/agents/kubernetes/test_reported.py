"""What is new in a pod's life: nothing twice and no contradictions, whatever reported the rest."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agents.kubernetes.pods import ScriptedPod, us
from tests.agents.kubernetes.test_pod_life import read, serving, started

from endpoint_analytics.agents.kubernetes.containers import Rules
from endpoint_analytics.agents.kubernetes.naming import NamedReplica
from endpoint_analytics.agents.kubernetes.objects import Pod
from endpoint_analytics.agents.kubernetes.reported import (
    AGAIN_FAILED_US,
    AGAIN_US,
    LATE_US,
    Reported,
    Reporter,
)

REPLICA = NamedReplica("llm", "llm-1")
SECOND = 1_000_000


class Heard:
    """Everything reported for one replica, as a table like ClickHouse's: one row per time and state."""

    def __init__(self, reporter: Reporter | None = None) -> None:
        self.reporter = reporter or Reporter(Rules())
        self.said: list[str] = []
        self.rows: dict[tuple[int, str], str] = {}

    def observe(self, pod: ScriptedPod, second: float) -> list[str]:
        return self._take(self.reporter.observe(REPLICA, read(pod), us(pod.at(second))))

    def gone(self, pod: ScriptedPod, second: float) -> list[str]:
        return self._take(self.reporter.gone(REPLICA, read(pod), us(pod.at(second))))

    def _take(self, stages) -> list[str]:
        self.rows |= {(stage.at_us, stage.state): stage.reason for stage in stages}
        new = [stage.state for stage in stages]
        self.said += new
        return new

    @property
    def present(self) -> str:
        return max(self.rows)[1]

    def restarted(self, *, recalls: bool) -> Heard:
        """Return what another process reports, with or without having read back the last row."""
        other = Heard()
        other.rows = dict(self.rows)
        if recalls and self.rows:
            at_us, state = max(self.rows)
            other.reporter.recall(REPLICA, Reported(at_us, state, self.rows[at_us, state]))
        return other


def test_each_stage_is_reported_once():
    heard, pod = Heard(), ScriptedPod("llm-1")
    assert heard.observe(pod, 0) == ["pending"]
    pod.scheduled(1)
    assert heard.observe(pod, 1) == []
    pod.taken_on(2)
    assert heard.observe(pod, 2) == ["pulling"]
    pod.runs(30)
    pod.ready(50)
    assert heard.observe(pod, 51) == ["initializing", "running"]
    assert heard.observe(pod, 52) == []


@pytest.mark.parametrize("recalls", [True, False], ids=["with the topic", "without"])
def test_after_a_restart_what_happened_meanwhile_is_reported_with_its_own_times(recalls):
    heard, pod = Heard(), serving()
    heard.observe(pod, 51)
    before = dict(heard.rows)
    pod.crashes(70, 137, "OOMKilled")
    pod.runs(72)
    pod.ready(90)
    again = heard.restarted(recalls=recalls)
    new = again.observe(pod, 500)
    assert new[-3:] == ["failed", "initializing", "running"]
    assert len(new) == 3 or not recalls
    assert before.items() <= again.rows.items()
    added = sorted(key for key in again.rows if key not in before)
    assert [((at_us - us(pod.begin)) // SECOND, state) for at_us, state in added] == [
        (70, "failed"), (72, "initializing"), (90, "running"),
    ]  # fmt: skip


def test_a_failure_without_a_time_is_reported_once_however_often_its_name_changes():
    heard, pod = Heard(), ScriptedPod("llm-1")
    pod.scheduled(1)
    pod.taken_on(2)
    pod.waits(7, "ErrImagePull", "not found")
    assert heard.observe(pod, 7)[-1] == "failed"
    for second in (20, 40):
        pod.waits(second, "ImagePullBackOff", "Back-off")
        assert heard.observe(pod, second) == []
        assert heard.restarted(recalls=True).observe(pod, second) == []
    assert heard.restarted(recalls=False).observe(pod, 41)[-1] == "failed"
    pod.runs(40, written=40)  # in the very second in which the failure was last written
    assert heard.observe(pod, 42) == ["initializing"]
    assert heard.present == "initializing"


def test_what_a_moment_was_may_become_clearer():
    heard, pod = Heard(), started()
    pod.crashes(31)
    heard.observe(pod, 31)
    rows = len(heard.rows)
    pod.backs_off(32)
    assert heard.observe(pod, 32) == ["failed"]
    assert len(heard.rows) == rows
    assert heard.rows[max(heard.rows)] == "CrashLoopBackOff after Error: exit code 1"


def test_a_deleted_pod_is_terminated_once():
    heard, pod = Heard(), serving()
    heard.observe(pod, 51)
    pod.deletion_asked(100)
    assert heard.observe(pod, 100) == ["draining"]
    pod.all_ended(120)
    assert heard.observe(pod, 121) == ["terminated"]
    assert heard.gone(pod, 122) == []
    assert max(heard.rows)[0] // SECOND == us(pod.at(120)) // SECOND


@pytest.mark.parametrize("recalls", [True, False], ids=["read back", "known"])
def test_a_pod_that_has_terminated_does_not_fail_afterwards(recalls):
    """The server changes the deletion time when the kubelet is done: then the containers seem to have ended before."""
    heard, pod = Heard(), serving()
    pod.deletion_asked(100)
    pod.all_ended(130, 137)
    heard.observe(pod, 131)
    pod.let_go(135)
    if recalls:
        heard = heard.restarted(recalls=True)
    assert heard.observe(pod, 135) == []
    assert heard.gone(pod, 136) == []
    assert heard.present == "terminated"


def test_a_pod_that_was_removed_by_force_ends_when_it_is_seen():
    heard, pod = Heard(), serving()
    heard.observe(pod, 51)
    pod.deletion_asked(100, 0)
    assert heard.gone(pod, 103) == ["draining", "terminated"]
    assert max(heard.rows)[0] == us(pod.at(103))


def test_a_pod_of_the_same_name_begins_after_the_end_of_the_one_before():
    heard, pod = Heard(), serving()
    heard.observe(pod, 51)
    pod.deletion_asked(100)
    pod.all_ended(110)
    heard.observe(pod, 110)
    heard.gone(pod, 110)
    ended_us = max(heard.rows)[0]
    successor = ScriptedPod("llm-1", pod.at(110))  # within the same second
    assert heard.observe(successor, 0) == ["pending"]
    assert max(heard.rows)[0] > ended_us


def test_a_pod_that_is_selected_again_runs_from_then_on():
    heard, pod = Heard(), serving()
    heard.observe(pod, 51)
    assert heard.gone(pod, 60) == ["terminated"]
    assert heard.observe(pod, 80) == ["running"]
    assert max(heard.rows)[0] == us(pod.at(80))


def test_what_lasts_is_reported_again_at_moments_that_all_agree_on():
    heard, pod = Heard(), serving()
    heard.observe(pod, 51)
    said = len(heard.said)
    end = 4 * AGAIN_US // SECOND
    for second in range(60, end, 600):
        heard.observe(pod, second)
    again = sorted(at_us for at_us, state in heard.rows if state == "running")[1:]
    assert len(heard.said) - said == len(again) == 4
    assert all(at_us % AGAIN_US == 0 for at_us in again)
    rows = dict(heard.rows)
    for recalls in (True, False):
        heard.restarted(recalls=recalls).observe(pod, end)
    assert heard.rows == rows


def test_a_pod_that_is_kept_failing_is_reported_again_before_it_departs():
    heard, pod = Heard(), started()
    pod.crashes(31)
    heard.observe(pod, 31)
    for second in range(40, 40 + 4 * AGAIN_FAILED_US // SECOND, 15):
        heard.observe(pod, second)
    failed = [at_us for at_us, state in heard.rows if state == "failed"]
    assert len(failed) == 5
    assert {heard.rows[at_us, "failed"] for at_us in failed} == {"Error: exit code 1"}


def test_a_pod_that_is_over_is_not_reported_again():
    heard, pod = Heard(), serving()
    pod.evicted(80)
    heard.observe(pod, 82)
    assert heard.observe(pod, 3 * AGAIN_US // SECOND) == []
    assert heard.gone(pod, 4 * AGAIN_US // SECOND) == []


def test_what_is_too_old_for_the_worker_is_reported_as_it_is_now():
    pod = serving()
    days_later = 5 * 86_400
    heard = Heard()
    assert heard.observe(pod, days_later) == ["running"]
    now_us = us(pod.at(days_later))
    assert now_us - LATE_US < min(heard.rows)[0] <= now_us
    corpse = serving()
    corpse.evicted(80)
    assert Heard().observe(corpse, days_later) == []


def test_a_clock_that_is_ahead_reports_nothing_of_the_future():
    heard, pod = Heard(), serving()
    heard.observe(pod, 20)
    assert max(heard.rows)[0] <= us(pod.at(22))
    assert heard.present == "running"
    assert heard.observe(pod, 21) == []


def test_a_life_by_a_clock_that_is_ahead_is_reported_once():
    heard, pod = Heard(), serving()
    for second in range(20, 120, 5):
        heard.observe(pod, second)
    assert heard.said == ["pending", "pulling", "initializing", "running"]
    assert heard.present == "running"


def test_what_was_reported_and_is_not_there_has_ended():
    reporter = Reporter(Rules())
    reporter.recall(REPLICA, Reported(5 * SECOND, "running"))
    assert [(stage.at_us, stage.state) for stage in reporter.missing(REPLICA, 9 * SECOND, "gone")] == [
        (9 * SECOND, "terminated")
    ]
    assert reporter.missing(NamedReplica("llm", "unknown"), 9 * SECOND, "gone") == []


FITS = {"crashes": "running", "ready": "running", "unready": "running", "backs_off": "terminated"}
"""What may happen to a container in which state."""

HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(("unready", "ready", "crashes", "runs", "backs_off", "restart", "second agent")),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=15,
)


@given(HAPPENINGS)
def test_two_agents_and_restarts_say_together_what_one_says_alone(happenings):
    """The table of one agent that saw everything, and that of agents that come and go, end in the same state.

    A probe speaks once a second at most, so that readiness is not lost and won again within one.
    """
    alone, pod, at = Heard(), started(), 30
    probed = 30
    alone.observe(pod, at)
    many = [alone.restarted(recalls=False)]
    many[0].observe(pod, at)
    for what, after, recalls in happenings:
        at += after
        if what in {"ready", "unready"}:
            at = probed = max(at, probed + 1)
        state = pod._status("server")["state"]
        if what == "restart":
            many[0] = many[0].restarted(recalls=recalls)
        elif what == "second agent" and len(many) < 3:
            many.append(many[0].restarted(recalls=recalls))
        elif (what in FITS and FITS[what] in state) or (what == "runs" and "running" not in state):
            getattr(pod, what)(at)
        alone.observe(pod, at)
        for each in many:
            each.observe(pod, at)
    together: dict[tuple[int, str], str] = {}
    for each in many:
        together |= each.rows
    assert max(together)[1] == alone.present
    assert alone.rows.keys() >= {key for key in together if key[1] == "running"}


def test_a_pod_reads_back_from_its_own_json():
    pod = serving()
    assert msgspec.json.decode(msgspec.json.encode(pod.json), type=Pod).metadata.name == "llm-1"
