"""Three brokers with replication 3: killed, upgraded one at a time, lost for good: nothing is lost or counted twice.

The topics are made by `endpoint-analytics topics`: three replicas of each message, two of which must be in sync. The
load is that of a fleet, and of real agents, whose producers have other settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.agents import agents_under_load
from tests.faults.rig import Parts, Rig
from tests.support.kafka_cluster import Cluster
from tests.support.waiting import eventually

PARTITIONS, AGENTS = 4, 3
TRAFFIC = {"replicas": 30, "rate": 8.0, "restarts": 0.01, "duplicates": 0.05, "hardware": True}
IN_SYNC_WITHIN_S = 60
TERMINATED_BY_SIGKILL = -9


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def rig(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Rig]:
    with Parts(tmp_path_factory.mktemp("cluster-parts"), cluster) as parts:
        name = request.node.name.removeprefix("test_")[:30].replace("_", "-")
        made = Rig(parts, name, PARTITIONS, topics=False)
        try:
            made.command("topics", "--partitions", str(PARTITIONS), "--replication-factor", "3")
            yield made
        finally:
            made.close()


def until_more(rig: Rig, batches: int, what: str) -> None:
    before = rig.stored_batches()
    rig.eventually(rig.stored_batches, lambda stored: stored > before + batches, what)


def until_in_sync(cluster: Cluster) -> None:
    eventually(cluster.out_of_sync, lambda found: not found, IN_SYNC_WITHIN_S, "every replica is in sync")


@pytest.mark.slow
def test_one_broker_of_three_is_killed_and_comes_back_and_then_another(rig: Rig, cluster: Cluster) -> None:
    rig.worker()
    run = rig.send_steadily(900, **TRAFFIC)
    rig.wait_for_commits()
    cluster.brokers[0].kill()
    until_more(rig, 200, "rows with two brokers")
    cluster.brokers[0].start()
    until_more(rig, 200, "rows with three brokers again")
    until_in_sync(cluster)
    cluster.brokers[1].kill()
    until_more(rig, 200, "rows without the second broker")
    run.stop()
    rig.verify("one of three brokers is killed, comes back, another is killed")


@pytest.mark.slow
def test_brokers_are_upgraded_one_at_a_time(rig: Rig, cluster: Cluster, tmp_path: Path) -> None:
    """Each is stopped with SIGTERM and started again once all replicas are in sync, as Kafka's manual says."""
    for number in range(2):
        rig.worker(f"worker-{number}")
    run = rig.send_steadily(900, **TRAFFIC)
    with agents_under_load(rig, AGENTS, tmp_path) as accepted:
        rig.wait_for_commits()
        for index, broker in enumerate(cluster.brokers):
            broker.stop(60)
            assert broker.poll() != TERMINATED_BY_SIGKILL, "it did not stop by itself"
            until_more(rig, 200, f"rows without broker {index}")
            broker.start()
            until_in_sync(cluster)
            until_more(rig, 200, f"rows after broker {index} is back")
    run.stop()
    rig.verify("three brokers are restarted in turn", also=accepted)


@pytest.mark.slow
def test_brokers_are_lost_for_good(rig: Rig, cluster: Cluster, tmp_path: Path) -> None:
    """One is gone with its disk, replaced by an empty one; then another is gone: what the first held is on the new one.

    At the end two are left, and the whole log is read once more from them.
    """
    for number in range(2):
        rig.worker(f"worker-{number}")
    run = rig.send_steadily(900, **TRAFFIC)
    with agents_under_load(rig, AGENTS, tmp_path) as accepted:
        rig.wait_for_commits()
        cluster.lose(1)
        until_more(rig, 200, "rows with two brokers")
        cluster.brokers[1].start()
        until_in_sync(cluster)
        until_more(rig, 200, "rows with the replacement")
        cluster.lose(2)
        until_more(rig, 400, "rows with the replacement and one other")
    run.stop()
    try:
        rig.verify("a broker is lost and replaced, another is lost", also=accepted)
        for worker in rig.workers:
            worker.kill()
        rig.replay()
        rig.worker("replayer", static=False)
        rig.wait_for_last_chunks()
        rig.verify("and the log is read again from the two that are left", also=accepted)
    finally:
        cluster.brokers[2].start()
