"""The command before a real kube-apiserver and a real Kafka, as the service account of its manifest."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from tests.agents.kubernetes.real.cluster import Cluster
from tests.support.parts import Child
from tests.support.waiting import eventually

from endpoint_analytics.agents.core.config import KafkaConfig
from endpoint_analytics.schemas.codec import decode_replicas
from endpoint_analytics.schemas.replicas import EndpointSettings, ReplicaMessage, ReplicaState
from endpoint_analytics.schemas.topics import REPLICAS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[4]
LABEL = "endpoint-analytics/endpoint"


@pytest.fixture
def start(models: Cluster, kafka_config: KafkaConfig, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    models.kubectl("apply", "-f", ROOT / "infra/deploy/kubernetes/agent/account.yaml")
    (models.directory / "agent-token").write_text(models.account_token("models", "endpoint-analytics-agent"))
    kubeconfig = models.kubeconfig({"tokenFile": "agent-token"}, "agent-kubeconfig")
    children: list[Child] = []

    def start(*options: str) -> Child:
        words = [sys.executable, "-m", "endpoint_analytics.infra.command", "agent", "kubernetes", *options]
        environment = os.environ | {
            "ENDPOINT_ANALYTICS_KAFKA": kafka_config.bootstrap_servers,
            "ENDPOINT_ANALYTICS_TOPIC_PREFIX": kafka_config.topic_prefix,
        }
        child = Child(
            [*words, "--kubeconfig", str(kubeconfig)],
            environment,
            tmp_path / "agent.log",
            "kubernetes agent ready",
        )
        children.append(child)
        child.start()
        return child

    yield start
    for child in children:
        child.kill()


def sent(kafka: KafkaConfig) -> list[ReplicaMessage]:
    async def read() -> list[ReplicaMessage]:
        consumer = AIOKafkaConsumer(
            REPLICAS.name(kafka.topic_prefix),
            bootstrap_servers=kafka.bootstrap_servers,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            ends, records = await consumer.end_offsets(consumer.assignment()), []
            while sum(ends.values()) > len(records):
                for found in (await consumer.getmany(timeout_ms=200)).values():
                    records += found
        finally:
            await consumer.stop()
        return [decode_replicas(each.value) for each in records]

    return asyncio.run(read())


def states(kafka: KafkaConfig, endpoint: str, replica: str) -> list[str]:
    found = [each for each in sent(kafka) if isinstance(each, ReplicaState)]
    ours = [each for each in found if (each.endpoint, each.replica_id) == (endpoint, replica)]
    return [each.state for each in sorted(ours, key=lambda each: each.at_us)]


def settings(kafka: KafkaConfig, endpoint: str) -> list[tuple[int, int, float]]:
    found = [each for each in sent(kafka) if isinstance(each, EndpointSettings) and each.endpoint == endpoint]
    return [(each.min_replicas, each.max_replicas, each.at_us / 1e6) for each in found]


def moment(seconds_ago: int = 0) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_pods_life_over_two_endpoints(
    models: Cluster, kafka_config: KafkaConfig, start: Callable[..., Child]
):
    agent = start("--endpoint-label", LABEL)

    def ends_with(endpoint: str, *expected: str) -> None:
        eventually(
            lambda: states(kafka_config, endpoint, "mover"),
            lambda found: tuple(found[-len(expected) :]) == expected,
            60,
            f"{endpoint}: {expected}",
        )

    models.pod("mover", {LABEL: "chat"})
    models.bind("mover")
    models.serve("mover", moment())
    ends_with("chat", "running")
    models.kubectl("label", "-n", "models", "pod/mover", f"{LABEL}=embed", "--overwrite")
    ends_with("chat", "running", "terminated")
    ends_with("embed", "running")
    models.kubectl("delete", "-n", "models", "pod/mover", "--wait=false")  # its kubelet would let it end
    ends_with("embed", "running", "draining")
    models.done("DELETE", "/api/v1/namespaces/models/pods/mover?gracePeriodSeconds=0")
    ends_with("embed", "running", "draining", "terminated")
    assert states(kafka_config, "embed", "mover") == ["running", "draining", "terminated"]
    assert states(kafka_config, "chat", "mover")[-1] == "terminated"
    assert agent.stop() == 0


def test_limits_of_what_is_scaled_by_hand_hold_since_they_were_seen(
    models: Cluster, kafka_config: KafkaConfig, start: Callable[..., Child]
):
    models.deployment("scaled", 2)
    made_s = datetime.now(UTC).timestamp()
    agent = start("--selector", "app=scaled", "--endpoint", "scaled")
    eventually(lambda: settings(kafka_config, "scaled"), lambda found: len(found) == 1, 60, "its number")
    # The server notes whole seconds: the one in which it was made is to be over.
    eventually(lambda: datetime.now(UTC).timestamp(), lambda now_s: now_s > made_s + 2, 60, "a second")
    scaled_s = datetime.now(UTC).timestamp()
    models.kubectl("scale", "-n", "models", "deployment/scaled", "--replicas=5")
    found = eventually(
        lambda: settings(kafka_config, "scaled"), lambda found: len(found) == 2, 60, "its new number"
    )
    assert [each[:2] for each in found] == [(2, 2), (5, 5)]
    assert found[1][2] >= scaled_s
    assert agent.stop() == 0


def test_a_container_that_no_pod_has(models: Cluster, kafka_config: KafkaConfig, start: Callable[..., Child]):
    models.pod("odd", {"app": "odd"}, containers=("server", "logger"))
    models.bind("odd")
    models.serve("odd", moment())
    agent = start("--selector", "app=odd", "--endpoint", "odd", "--container", "srv")
    found = eventually(lambda: states(kafka_config, "odd", "odd"), bool, 60, "its state")
    assert found == ["pending"]
    assert "--container is srv, but its containers are server, logger" in agent.log.read_text()
    assert agent.stop() == 0
