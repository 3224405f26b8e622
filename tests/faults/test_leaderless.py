"""Three brokers without replication, one of which is killed: its partitions have no leader, all others continue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import DefaultPartitioner
from tests.faults.rig import Parts, Rig
from tests.support.kafka_cluster import Cluster

from endpoint_analytics.infra.fleet.fleet import Fleet
from endpoint_analytics.infra.fleet.replica import FleetReplica
from endpoint_analytics.infra.fleet.sender import FleetSender

BROKERS = (1, 2, 3)
PARTITIONS = 6
KILLED = 2
STEP_S = 0.5
CURRENT_S = 5.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def rig(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Parts(tmp_path_factory.mktemp("cluster-parts"), cluster) as parts:
        made = Rig(parts, "leaderless", partitions=PARTITIONS, topics=False)
        asyncio.run(_make_topics(made))
        try:
            yield made
        finally:
            made.close()


@pytest.mark.slow
def test_a_partition_without_a_leader_stops_no_other(rig: Rig, cluster: Cluster) -> None:
    """Its messages wait; rows of all others keep arriving, also from workers started then; nothing is missing."""
    first = rig.worker()
    fleet = rig.fleet(replicas=60, rate=8.0, interval_s=STEP_S, hardware=True)
    asyncio.run(_send(rig, fleet, fleet.replicas, 8))
    rig.wait_for_commits()
    reached = [replica for replica in fleet.replicas if _broker_of(_partition_of(replica)) != KILLED]
    assert 0 < len(reached) < len(fleet.replicas)
    cluster.brokers[BROKERS.index(KILLED)].kill()
    try:
        for workers in ("as before", "another in place of the first", "two"):
            if workers == "another in place of the first":
                first.kill()
            if workers != "as before":
                rig.worker()
            before = rig.stored_batches()
            asyncio.run(_send(rig, fleet, reached, 10))
            rig.eventually(
                rig.stored_batches,
                lambda stored, before=before: stored >= before + 10 * len(reached),
                f"rows of the partitions that have a leader; workers: {workers}",
            )
            rig.eventually(
                lambda: behind_s(rig, lead=True),
                lambda seconds: seconds < CURRENT_S,
                f"they are known to be read; workers: {workers}",
            )
        assert behind_s(rig, lead=False) > CURRENT_S
    finally:
        cluster.brokers[BROKERS.index(KILLED)].start()
    asyncio.run(_send(rig, fleet, fleet.replicas, 4))
    asyncio.run(_rest(rig, fleet))
    rig.verify("a broker without replicas is killed, and comes back")


def behind_s(rig: Rig, *, lead: bool) -> float:
    """Return how far behind these partitions are known to be read, at most or at least."""
    rows = rig.rows(
        "SELECT partition, (toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(max(read_to))) / 1000"
        " FROM partition_progress WHERE stream = 'requests' GROUP BY partition"
    )
    ages = [age for partition, age in rows if (_broker_of(partition) != KILLED) == lead]
    return max(ages) if lead else min(ages)


async def _send(rig: Rig, fleet: Fleet, replicas: Sequence[FleetReplica], rounds: int) -> None:
    step_us = int(STEP_S * 1e6)
    async with FleetSender(rig.kafka_config()) as sender:
        for _ in range(rounds):
            now_us = time.time_ns() // 1000
            await sender.deliver([m for r in replicas for m in r.step(now_us - step_us, now_us)])
            await asyncio.sleep(STEP_S)
        fleet.truth.uncertain += sender.uncertain


async def _rest(rig: Rig, fleet: Fleet) -> None:
    async with FleetSender(rig.kafka_config()) as sender:
        await sender.deliver([message for replica in fleet.replicas for message in replica.rest()])
        fleet.truth.uncertain += sender.uncertain


async def _make_topics(rig: Rig) -> None:
    """Partition n of every topic is on the same broker, so that a replica is reachable completely or not at all."""
    client = AIOKafkaAdminClient(bootstrap_servers=rig.parts.kafka.bootstrap_servers)
    await client.start()
    try:
        answer = await client.create_topics(
            [
                NewTopic(
                    spec.name,
                    -1,
                    -1,
                    replica_assignments={number: [_broker_of(number)] for number in range(spec.partitions)},
                    topic_configs=spec.settings | {"min.insync.replicas": "1"},
                )
                for spec in rig.topics()
            ]
        )
        assert {each["error_code"] for each in answer.to_object()["topic_errors"]} == {0}
    finally:
        await client.close()


def _broker_of(partition: int) -> int:
    return BROKERS[partition % len(BROKERS)]


def _partition_of(replica: FleetReplica) -> int:
    numbers = list(range(PARTITIONS))
    return int(DefaultPartitioner()(replica.key, numbers, numbers))
