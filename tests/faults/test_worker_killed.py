"""SIGKILL of the worker at each point of a chunk's life, triggered by the requests that the proxy sees."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.faults.clickhouse_proxy import Fate, Once, inserts, into
from tests.faults.rig import Rig
from tests.support.waiting import until

TRAFFIC = {"rate": 8.0, "duplicates": 0.05, "gaps": 0.02, "late": 0.03, "restarts": 0.02, "hardware": True}


def killed_at(rig: Rig, rule: Once, fault: str) -> None:
    """Kill the worker when the rule is met, restart it, and verify."""
    worker = rig.worker()
    rule.fate = replace(rule.fate, answered=0.0, then=worker.process.kill)
    sending = rig.send_steadily(9, **TRAFFIC)
    rig.wait_for_commits()
    rig.proxy.rule = rule
    until(lambda: rule.met and worker.process.poll() is not None, 60, "the kill")
    assert worker.process.wait() == -9
    rig.worker()
    sending.join()
    rig.verify(fault)


def test_killed_before_an_insert(rig: Rig) -> None:
    killed_at(
        rig, Once(into("request_windows"), Fate("killed", sent=0.0), 4), "worker killed before an insert"
    )


@pytest.mark.slow
def test_killed_after_an_insert_before_the_commit(rig: Rig) -> None:
    killed_at(
        rig, Once(into("request_windows"), Fate("killed"), 5), "worker killed after the insert, not committed"
    )


@pytest.mark.slow
def test_killed_between_the_tables_of_a_flush(rig: Rig) -> None:
    killed_at(
        rig, Once(into("chunks"), Fate("killed", sent=0.0), 5), "worker killed between a flush's tables"
    )


@pytest.mark.slow
def test_killed_in_the_middle_of_an_insert(rig: Rig) -> None:
    killed_at(
        rig,
        Once(into("boot_states"), Fate("killed", sent=0.5), 3),
        "worker killed in the middle of an insert",
    )


@pytest.mark.slow
def test_killed_again_and_again(rig: Rig) -> None:
    sending = rig.send_steadily(14, **TRAFFIC)
    for number in range(4):
        worker = rig.worker()
        if number == 1:
            rig.wait_for_commits()
        kill = Once(inserts, Fate("killed", answered=0.0, then=worker.process.kill), 3 + 5 * number)
        rig.proxy.rule = kill
        until(lambda kill=kill, worker=worker: kill.met and worker.process.poll() is not None, 60, "the kill")
    rig.proxy.reset()
    rig.worker()
    sending.join()
    rig.verify("worker killed four times")


@pytest.mark.slow
def test_killed_while_it_catches_up(rig: Rig) -> None:
    rig.send_fast(100, **TRAFFIC)
    for number in (3, 9, 6):
        worker = rig.worker()
        kill = Once(inserts, Fate("killed", answered=0.0, then=worker.process.kill), number)
        rig.proxy.rule = kill
        until(lambda kill=kill, worker=worker: kill.met and worker.process.poll() is not None, 60, "the kill")
    rig.proxy.reset()
    rig.worker()
    rig.verify("worker killed three times while it catches up")
