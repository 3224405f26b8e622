"""Three brokers with replication 3; one is killed, then another: nothing is lost or counted twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.faults.rig import Parts, Rig
from tests.support.kafka_cluster import Cluster
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def rig(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Parts(tmp_path_factory.mktemp("cluster-parts"), cluster) as parts:
        made = Rig(parts, "broker-killed", replication_factor=3)
        try:
            yield made
        finally:
            made.close()


@pytest.mark.slow
def test_one_broker_of_three_is_killed_and_comes_back_and_then_another(rig: Rig, cluster: Cluster) -> None:
    rig.worker()
    run = rig.send_steadily(60, replicas=30, rate=8.0, restarts=0.01, duplicates=0.05)
    rig.wait_for_commits()
    before = rig.stored_batches()
    cluster.brokers[0].kill()
    eventually(rig.stored_batches, lambda stored: stored > before + 200, 60, "rows with two brokers")
    cluster.brokers[0].start()
    before = rig.stored_batches()
    eventually(rig.stored_batches, lambda stored: stored > before + 200, 60, "rows with three brokers again")
    cluster.brokers[1].kill()
    before = rig.stored_batches()
    eventually(rig.stored_batches, lambda stored: stored > before + 200, 90, "rows without the second broker")
    run.stop()
    rig.verify("one of three brokers is killed, comes back, another is killed")
