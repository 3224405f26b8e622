"""ClickHouse down, slow and refusing, and a network that cuts connections between it and the worker."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from tests.faults.clickhouse_proxy import (
    ANSWER_LOST,
    CUT_IN_ANSWER,
    CUT_IN_REQUEST,
    PASS,
    UNREACHED,
    Fate,
    Request,
    reads,
)
from tests.faults.refusals import GONE, REFUSALS
from tests.faults.rig import Rig
from tests.support.waiting import until

TRAFFIC = {"rate": 8.0, "duplicates": 0.05, "gaps": 0.02, "late": 0.03, "restarts": 0.02, "hardware": True}


@pytest.mark.parametrize(
    "fate",
    [
        ANSWER_LOST,
        pytest.param(CUT_IN_REQUEST, marks=pytest.mark.slow),
        pytest.param(CUT_IN_ANSWER, marks=pytest.mark.slow),
        pytest.param(UNREACHED, marks=pytest.mark.slow),
    ],
    ids=lambda fate: fate.name.replace(" ", "-"),
)
def test_a_third_of_all_requests_fail(rig: Rig, fate: Fate) -> None:
    rng = random.Random(3)
    rig.proxy.rule = lambda _: fate if rng.random() < 0.33 else PASS
    worker = rig.worker()
    rig.send_steadily(7, **TRAFFIC).join()
    rig.proxy.rule = lambda _: PASS
    rig.verify(f"a third of all requests: {fate.name} ({rig.proxy.counts[fate.name]} inserts)")
    assert rig.proxy.counts[fate.name] > 5
    assert worker.process.poll() is None


def test_the_engine_refuses_inserts_in_every_way(rig: Rig) -> None:
    """One refusal after another, each by ClickHouse itself: the worker reports it, and continues when it is over."""
    worker = rig.worker(health=True)
    sending = rig.send_steadily(600, **TRAFFIC)
    rig.wait_for_commits()
    for refusal in REFUSALS:
        rig.refuse(refusal)
        until(lambda error=refusal.error: error in rig.not_ready(), 60, f"{refusal.name}: the worker says so")
        if refusal.table == "chunks":
            worker.kill()  # what it held is gone, and was never acknowledged
            worker.start(120)
            until(
                lambda error=refusal.error: error in rig.not_ready(), 60, f"{refusal.name}: the heir says so"
            )
        rig.accept(refusal)
        until(lambda: rig.not_ready() == "", 60, f"{refusal.name} is over: the worker is ready")
        assert worker.process.poll() is None
    sending.stop()
    rig.verify(f"{len(REFUSALS)} refusals of the engine's own")


@pytest.mark.slow
def test_reads_are_refused_for_a_while(rig: Rig) -> None:
    """The state of boots cannot be read back: nothing may be folded without it."""
    rig.send_fast(10, **TRAFFIC)
    rig.refuse(GONE)
    worker = rig.worker(health=True)
    sending = rig.send_steadily(3, name=f"{rig.name}-more", **TRAFFIC)
    until(lambda: "ClickHouse cannot be read" in rig.not_ready(), 60, "a refused read is told")
    assert "endpoint-analytics migrate" in rig.not_ready()
    rig.accept(GONE)
    sending.join()
    rig.verify("reads refused at the start")
    assert worker.process.poll() is None


@pytest.mark.slow
def test_reads_are_cut(rig: Rig) -> None:
    """Half a response to the query for a boot's state must not be used."""
    rig.send_fast(12, replicas=120, **TRAFFIC)
    rng = random.Random(4)

    def rule(request: Request) -> Fate:
        return CUT_IN_ANSWER if reads(request) and rng.random() < 0.5 else PASS

    for number in range(3):
        rig.proxy.rule = rule
        worker = rig.worker()
        before = rig.stored_batches()
        until(lambda before=before: rig.stored_batches() > before, 60, "a restart under cut reads")
        if number < 2:
            worker.kill()
            rig.send_fast(2, name=f"{rig.name}-{number}", replicas=120, **TRAFFIC)
    rig.proxy.rule = lambda _: PASS
    rig.verify("answers to reads cut in half")


def test_killed_and_started_again(rig: Rig) -> None:
    rig.worker()
    sending = rig.send_steadily(10, **TRAFFIC)
    rig.wait_for_commits()
    for _ in range(2):
        rig.parts.clickhouse.kill()
        time.sleep(1.5)
        rig.parts.clickhouse.start()
        time.sleep(1)
    sending.join()
    rig.verify("ClickHouse killed twice, each away for 2 s")


@pytest.mark.slow
def test_away_while_the_worker_starts(rig: Rig) -> None:
    """It is ready once ClickHouse answers, and joins its group only then."""
    rig.parts.clickhouse.kill()
    rig.worker(ready=False)
    sending = rig.send_steadily(6, **TRAFFIC)
    time.sleep(3)
    rig.parts.clickhouse.start()
    sending.join()
    rig.verify("ClickHouse away while the worker starts")


@pytest.mark.slow
def test_slow(rig: Rig) -> None:
    rng = random.Random(6)
    rig.proxy.rule = lambda _: Fate("slow", delay_s=rng.uniform(0.2, 1.5))
    rig.worker()
    rig.send_steadily(7, **TRAFFIC).join()
    rig.proxy.rule = lambda _: PASS
    rig.verify("ClickHouse slow: 0.2 to 1.5 s a request")


@pytest.mark.slow
def test_stopped_and_continued(rig: Rig) -> None:
    rig.worker()
    sending = rig.send_steadily(9, **TRAFFIC)
    rig.wait_for_commits()
    os.kill(rig.parts.clickhouse.pid, signal.SIGSTOP)
    time.sleep(4)
    os.kill(rig.parts.clickhouse.pid, signal.SIGCONT)
    sending.join()
    rig.verify("ClickHouse stands still for 4 s")


@pytest.mark.slow
def test_away_for_long(rig: Rig) -> None:
    worker = rig.worker()
    sending = rig.send_steadily(45, **TRAFFIC)
    rig.wait_for_commits()
    rig.parts.clickhouse.kill()
    time.sleep(35)
    rig.parts.clickhouse.start()
    sending.join()
    rig.verify("ClickHouse away for 35 s")
    assert worker.process.poll() is None


@pytest.mark.slow
def test_stands_still_beyond_the_time_out(rig: Rig) -> None:
    """An insert that the worker gave up is stored after all, after the one that replaced it."""
    rig.worker()
    sending = rig.send_steadily(50, **TRAFFIC)
    rig.wait_for_commits()
    os.kill(rig.parts.clickhouse.pid, signal.SIGSTOP)
    time.sleep(40)
    os.kill(rig.parts.clickhouse.pid, signal.SIGCONT)
    sending.join()
    rig.verify("ClickHouse stands still for 40 s")


@pytest.mark.slow
def test_away_while_workers_change(rig: Rig) -> None:
    rig.worker("worker-1")
    sending = rig.send_steadily(20, **TRAFFIC)
    rig.wait_for_commits()
    rig.parts.clickhouse.kill()
    second = rig.worker("worker-2", ready=False)
    time.sleep(3)
    second.kill()
    rig.worker("worker-3", ready=False)
    time.sleep(3)
    rig.parts.clickhouse.start()
    sending.join()
    rig.verify("workers change while ClickHouse is away")
