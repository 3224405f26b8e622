"""Rebalances: zombies that wake up, and workers added and removed, with and without static membership."""

from __future__ import annotations

import random
import time

import pytest
from tests.faults.clickhouse_proxy import Fate, Once, into
from tests.faults.rig import SESSION_TIMEOUT_S, Rig, pause, resume
from tests.support.waiting import until

TRAFFIC = {"rate": 8.0, "duplicates": 0.05, "gaps": 0.02, "late": 0.03, "restarts": 0.02, "hardware": True}
DYNAMIC = pytest.param(False, marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize("static", [True, DYNAMIC], ids=["static", "dynamic"])
def test_a_zombie_wakes_beside_its_heir(rig: Rig, static: bool) -> None:
    zombie = rig.worker("worker-1", static=static)
    sending = rig.send_steadily(SESSION_TIMEOUT_S + 11, **TRAFFIC)
    rig.wait_for_commits()
    pause(zombie)
    heir = rig.worker("worker-2", static=static)
    before = rig.stored_batches()
    until(lambda: rig.stored_batches() > before + 50, 60, "the heir at work")
    resume(zombie)
    sending.join()
    rig.verify(f"SIGSTOP past the session, heir, SIGCONT ({'static' if static else 'dynamic'})")
    assert heir.process.poll() is None


@pytest.mark.slow
def test_a_zombie_wakes_within_an_insert(rig: Rig) -> None:
    """The stopped worker's insert is in progress: its response arrives when another has the partitions."""
    zombie = rig.worker("worker-1")
    stop = Once(into("request_windows"), Fate("stopped", then=lambda: pause(zombie)), 2)
    sending = rig.send_steadily(SESSION_TIMEOUT_S + 12, **TRAFFIC)
    rig.wait_for_commits()
    rig.proxy.rule = stop
    until(lambda: stop.met, 60, "the stop")
    rig.worker("worker-2")
    before = rig.stored_batches()
    until(lambda: rig.stored_batches() > before + 50, 60, "the heir at work")
    resume(zombie)
    sending.join()
    rig.verify("SIGSTOP within an insert, heir, SIGCONT")


@pytest.mark.slow
def test_two_workers_of_one_name(rig: Rig) -> None:
    """The second fences the first, which must exit or be harmless."""
    rig.worker("worker-1")
    sending = rig.send_steadily(8, **TRAFFIC)
    rig.wait_for_commits()
    rig.worker("worker-1")
    sending.join()
    rig.verify("two workers under one instance id")


@pytest.mark.slow
def test_what_faust_does_not_deliver_is_fetched_again(rig: Rig) -> None:
    sending = rig.send_steadily(10, **TRAFFIC)
    for number in range(3):
        rig.worker(f"worker-{number}", LOSSY=str(number))
    sending.join()
    rig.verify("Faust loses messages, and mixes up generations")
    said = "".join(worker.log.read_text() for worker in rig.workers)
    assert said.count("was not delivered; fetching it again") > 5


@pytest.mark.parametrize("static", [True, DYNAMIC], ids=["static", "dynamic"])
def test_workers_added_and_removed(rig: Rig, static: bool) -> None:
    rng = random.Random(5)
    sending = rig.send_steadily(10 if static else 20, **TRAFFIC)
    running = {"worker-0": rig.worker("worker-0", static=static)}
    number = 1
    while sending.is_running:
        if len(running) == 1 or (len(running) < 4 and rng.random() < 0.5):
            name = f"worker-{number if not static else number % 4}"
            number += 1
            if name not in running:
                running[name] = rig.worker(name, static=static)
        else:
            name = rng.choice(sorted(running)[1:])
            worker = running.pop(name)
            if rng.random() < 0.5:
                worker.kill()
            else:
                worker.stop(30)
        time.sleep(rng.uniform(0.2, 1.0))
    sending.join()
    rig.verify(f"workers added and removed ({'static' if static else 'dynamic'})")
