"""Partitions are added to all topics while agents, a fleet and two workers run: nothing is lost, nor seems to be."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from tests.agents.replica.test_agent_kafka import record
from tests.faults.rig import Rig
from tests.support.oracle import Accepted
from tests.support.waiting import until

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.delivery import producer
from endpoint_analytics.agents.delivery.producer import make_producer
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.schemas.topics import TOPICS

AFTER = 12


def add_partitions(rig: Rig) -> None:
    async def add() -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=rig.kafka_config().bootstrap_servers)
        await client.start()
        try:
            answer = await client.create_partitions(
                {topic.name(rig.name): NewPartitions(AFTER) for topic in TOPICS}
            )
            assert all(error[1] == 0 for error in answer.topic_errors), answer
        finally:
            await client.close()

    asyncio.run(add())


@pytest.mark.slow
def test_partitions_are_added_while_everything_runs(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Agents look for partitions every five minutes; here, twice a second."""

    def make(*arguments: object) -> AIOKafkaProducer:
        made = make_producer(*arguments)  # type: ignore[arg-type]
        made.client._metadata_max_age_ms = 500
        return made

    monkeypatch.setattr(producer, "make_producer", make)
    monkeypatch.setenv("ENDPOINT_ANALYTICS_RUNTIME_DIRECTORY", str(tmp_path_factory.mktemp("runtime")))

    def agent(number: int) -> Agent:
        config = AgentConfig(
            namespace="fleet",
            endpoint="grown",
            replica_id=f"r{number}",
            kafka=rig.kafka_config(),
            flush_interval_s=0.2,
            stop_timeout_s=20.0,
            hardware=False,
        )
        made = Agent(config)
        made.start()
        return made

    def sent(agents: list[Agent]) -> int:
        return sum(each.snapshot().sent["requests"] for each in agents)

    for number in range(2):
        rig.worker(f"worker-{number}")
    sending = rig.send_steadily(25, rate=5.0, restarts=0.02)
    agents = [agent(number) for number in range(12)]
    for each in agents:
        record(each, 10)
    rig.wait_for_commits()
    add_partitions(rig)
    for _ in range(10):
        before = sent(agents)
        for each in agents:
            record(each, 5)
        until(lambda before=before: sent(agents) > before + 24, 30, "batches after the change")
    agents += [agent(number) for number in range(12, 36)]
    for each in agents:
        record(each, 5)
    for each in agents:
        each.stop()
    sending.join()
    accepted = {
        BootKey("fleet", "grown", each.config.replica_id, each.boot_id): Accepted(each.snapshot().totals)
        for each in agents
    }
    rig.eventually(
        lambda: rig.differences(rig.accepted() | accepted), lambda wrong: not wrong, "partitions are added"
    )
    rows = rig.rows(
        "SELECT boot_id, count(), sum(missing), any(partition) FROM boots FINAL"
        " WHERE stream = 'requests' AND endpoint = 'grown' GROUP BY boot_id"
    )
    assert {(count, missing) for _, count, missing, _ in rows} == {(1, 0)}
    assert max(partition for *_, partition in rows) >= rig.partitions  # new boots use the new partitions
