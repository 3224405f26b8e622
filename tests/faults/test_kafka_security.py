"""End to end through a secured broker: each way in is exact, and each part reports what denies it access."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AclOperation, ResourceType
from tests.faults.rig import Parts, Rig
from tests.support.parts import ROOT, Child, kafka_environment
from tests.support.secure_kafka import PASSWORD, SecureKafka
from tests.support.waiting import eventually

from endpoint_analytics.agents.kubernetes.origin_header import Origin
from endpoint_analytics.agents.kubernetes.read_back import read_back
from endpoint_analytics.schemas.codec import decode_replicas, decode_signal
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.configuration.kafka_failure import find_unreadable, find_unwritable
from endpoint_analytics.schemas.replicas import ReplicaState
from endpoint_analytics.schemas.topics import HARDWARE, REJECTED, REPLICAS, REQUESTS, SIGNALS

COMMAND = [sys.executable, "-m", "endpoint_analytics.infra.command"]

AGENT = """
import time
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.command.agent_options import log_to_stderr
from endpoint_analytics.agents.core.config import read_config
log_to_stderr()
agent = Agent(read_config(namespace="secure", endpoint="e", replica_id="agent", hardware=False))
agent.start()
agent.enter("running")
time.sleep(float(__import__("sys").argv[1]))
agent.stop()
"""


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> SecureKafka:
    return SecureKafka(tmp_path_factory.mktemp("secure"))


@pytest.fixture(scope="module")
def secure_parts(secure: SecureKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with Parts(tmp_path_factory.mktemp("secure-parts"), secure.process) as running:
        secure.set_password(PASSWORD)
        secure.set_password("nothing", "nobody")
        yield running


def allow_all(secure: SecureKafka, rig: Rig) -> None:
    """Give our user the rights that docs/scale-out.md names."""
    secure.allow(ResourceType.TOPIC, rig.name, AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE)
    secure.allow(ResourceType.GROUP, rig.name, AclOperation.READ)


def ways(secure: SecureKafka) -> dict[str, KafkaConfig]:
    pems = secure.certificates
    return {
        "SASL_PLAINTEXT": secure.config("LOGIN", sasl_mechanism="SCRAM-SHA-256"),
        "SASL_SSL": secure.config("SECURE", sasl_mechanism="SCRAM-SHA-512"),
        "SSL": secure.config(
            "CERTIFIED",
            certificate_file=str(pems.client_certificate),
            key_file=str(pems.client_key),
            key_password="opens it",
        ),
    }


def run(
    config: KafkaConfig, *words: str, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | kafka_environment(config) | dict(environment)
    return subprocess.run(
        words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def clickhouse_of(parts: Parts, rig: Rig) -> dict[str, str]:
    return parts.clickhouse.environment | {"ENDPOINT_ANALYTICS_CLICKHOUSE_DATABASE": rig.client.database}


def values_of(servers: str, topic: str) -> list[bytes]:
    """Return all values of a topic."""

    async def read() -> list[bytes]:
        async with AIOKafkaConsumer(
            topic, bootstrap_servers=servers, auto_offset_reset="earliest"
        ) as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            found: list[bytes] = []
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                got = await consumer.getmany(timeout_ms=500)
                found += [record.value for records in got.values() for record in records]
            return found

    return asyncio.run(asyncio.wait_for(read(), 60))


def states_of(servers: str, topic: str) -> list[str]:
    messages = [decode_replicas(value) for value in values_of(servers, topic)]
    return [message.state for message in messages if isinstance(message, ReplicaState)]


@pytest.mark.parametrize(
    "way",
    [*(pytest.param(each, marks=pytest.mark.slow) for each in ("SASL_PLAINTEXT", "SSL")), "SASL_SSL"],
)
def test_agents_and_worker_are_exact_through_it(secure: SecureKafka, secure_parts: Parts, way: str) -> None:
    config = ways(secure)[way]
    rig = Rig(secure_parts, f"way-{way.lower().replace('_', '-')}", partitions=2, kafka=config)
    try:
        allow_all(secure, rig)
        rig.worker()
        rig.send_fast(6, replicas=20, rate=8.0, restarts=0.02, duplicates=0.05)
        rig.verify(f"Kafka with {way}")
        config = rig.kafka_config()
        reported = ("--namespace", "secure", "--endpoint", "e", "--replica-id", "r", "--state", "pending")
        done = run(config, *COMMAND, "replica", "set", *reported)
        assert done.returncode == 0, done.stderr
        done = run(config, sys.executable, "-c", AGENT, "2")
        assert "does not accept messages" not in done.stderr
        states = states_of(secure.process.bootstrap_servers, REPLICAS.name(rig.name))
        assert {"pending", "running"} <= set(states), done.stderr
    finally:
        rig.close()


@pytest.mark.slow
def test_every_other_part_goes_through_it(secure: SecureKafka, secure_parts: Parts, tmp_path: Path) -> None:
    """The parts that create topics, set limits, send spooled batches, read back, and send signals."""
    rig = Rig(secure_parts, "every-part", topics=False, kafka=secure.config("SECURE"))
    config, plain = rig.kafka_config(), secure.process.bootstrap_servers
    try:
        allow_all(secure, rig)
        for missing in (AclOperation.CREATE, AclOperation.DESCRIBE_CONFIGS):
            done = run(config, *COMMAND, "topics", "--partitions", "2")
            assert f"may not use the topic {rig.name}." in done.stderr
            assert "Create and DescribeConfigs" in done.stderr
            secure.allow(ResourceType.TOPIC, rig.name, missing)
        done = run(config, *COMMAND, "topics", "--partitions", "2")
        assert done.returncode == 0, done.stderr
        assert len([t for t in secure.admin.list_topics(timeout=30).topics if t.startswith(rig.name)]) == 6

        limits = ("--namespace", "secure", "--endpoint", "e", "--min-replicas", "1", "--max-replicas", "7")
        done = run(config, *COMMAND, "endpoint", "set", *limits)
        assert done.returncode == 0, done.stderr

        spool = {"ENDPOINT_ANALYTICS_SPOOL": str(tmp_path / "spool")}
        away = replace(config, bootstrap_servers="127.0.0.1:1")
        assert (
            "does not accept messages"
            in run(away, sys.executable, "-c", AGENT, "1", environment=spool).stderr
        )
        assert states_of(plain, REPLICAS.name(rig.name)) == []
        run(config, sys.executable, "-c", AGENT, "3", environment=spool)
        assert states_of(plain, REPLICAS.name(rig.name)).count("running") == 2

        # It reads the topic to its end, in which nothing is of an agent for Kubernetes.
        found = asyncio.run(read_back(config, make_ssl_context(config), "secure", Origin("", "secure")))
        assert found.replicas == {}

        rig.worker()
        sending = rig.send_steadily(8, replicas=3)
        environment = os.environ | kafka_environment(config) | clickhouse_of(secure_parts, rig)
        signals = Child(
            [*COMMAND, "signals", "--every", "1"], environment, tmp_path / "signals", "signals ready"
        )
        try:
            signals.start(60)
            values = eventually(lambda: values_of(plain, SIGNALS.name(rig.name)), bool, 30, "a signal")
            assert all(decode_signal(value).endpoint for value in values)
        finally:
            signals.kill()
            sending.join()
    finally:
        rig.close()


@pytest.mark.slow
def test_each_part_says_what_keeps_it_out(secure: SecureKafka, secure_parts: Parts, tmp_path: Path) -> None:
    rig = Rig(secure_parts, "kept-out", partitions=2)
    right = replace(secure.config("SECURE"), topic_prefix=rig.name)
    wrong = {
        "refuses the user 'app' or its password": replace(right, password="wrong"),
        "is not trusted by kafka_ca_file": replace(right, ca_file=str(secure.certificates.other_ca)),
        "nothing listens at": replace(right, bootstrap_servers="127.0.0.1:1"),
    }
    replica = [
        "--namespace",
        "a",
        "--endpoint",
        "b",
        "--replica-id",
        "c",
        "--state",
        "failed",
        "--timeout",
        "3",
    ]
    clickhouse = clickhouse_of(secure_parts, rig)
    try:
        for reported, config in wrong.items():
            said = {
                "command": run(config, *COMMAND, "replica", "set", *replica).stderr,
                "agent": run(config, sys.executable, "-c", AGENT, "4").stderr,
                "worker": run(config, *COMMAND, "worker", environment=clickhouse).stderr,
                "topics": run(config, *COMMAND, "topics").stderr,
                "signals": says(config, "are not sent", clickhouse, tmp_path / "signals", "signals"),
            }
            assert {part for part, text in said.items() if reported not in text} == set(), said
            assert not any("wrong" in text or PASSWORD in text for text in said.values())
    finally:
        rig.close()


def says(config: KafkaConfig, reported: str, environment: dict[str, str], log: Path, *words: str) -> str:
    """Return what a process that goes on for ever says, once it has said `reported`; it is stopped then."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, *words],
            env=os.environ | kafka_environment(config) | environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=file,
        )  # fmt: skip
    try:
        return eventually(log.read_text, lambda text: reported in text, 60, reported)
    finally:
        process.kill()
        process.wait()


def test_who_may_write_is_found_without_writing(secure: SecureKafka, secure_parts: Parts) -> None:
    rig = Rig(secure_parts, "may-write", partitions=2)
    config = replace(secure.config("SECURE", username="nobody", password="nothing"), topic_prefix=rig.name)
    context = make_ssl_context(config)
    topics = [topic.name(rig.name) for topic in (REQUESTS, REJECTED)]

    def found() -> list[str]:
        return asyncio.run(find_unwritable(config, context, [*topics, f"{rig.name}.not-there"]))

    try:
        secure.allow(ResourceType.TOPIC, rig.name, AclOperation.READ, AclOperation.DESCRIBE, user="nobody")
        refused = [line.partition(": ")[0] for line in found()]
        assert refused == [
            f"the user 'nobody' may not use the topic {name}"
            for name in sorted([*topics, f"{rig.name}.not-there"])
        ]
        secure.allow(ResourceType.TOPIC, rig.name, AclOperation.WRITE, user="nobody")
        eventually(found, lambda lines: lines == [], 30, "the right to write")
        consumer = Consumer({"bootstrap.servers": secure.process.bootstrap_servers, "group.id": rig.name})
        try:
            ends = [consumer.get_watermark_offsets(TopicPartition(name, 0), 10) for name in topics]
        finally:
            consumer.close()
        assert ends == [(0, 0), (0, 0)]
    finally:
        rig.close()


def test_who_may_see_a_topic_may_not_read_it_yet(secure: SecureKafka, secure_parts: Parts) -> None:
    """Who may write to a topic may also see it, and Kafka says only to those who read that they may not."""
    rig = Rig(secure_parts, "may-read", partitions=2)
    config = replace(secure.config("SECURE", username="nobody", password="nothing"), topic_prefix=rig.name)
    context = make_ssl_context(config)
    topics = [topic.name(rig.name) for topic in (REQUESTS, REJECTED)]

    def found() -> list[str] | None:
        return asyncio.run(find_unreadable(config, context, topics, rig.name))

    try:
        secure.allow(ResourceType.TOPIC, rig.name, AclOperation.WRITE, user="nobody")
        secure.allow(ResourceType.GROUP, rig.name, AclOperation.DESCRIBE, user="nobody")
        eventually(
            lambda: [line.partition(": ")[0] for line in found() or ()],
            lambda lines: (
                lines
                == [
                    *(f"the user 'nobody' may not use the topic {name}" for name in topics),
                    f"the user 'nobody' may not use the consumer group {rig.name}",
                ]
            ),
            30,
            "the rights that are missing",
        )
        secure.allow(ResourceType.TOPIC, rig.name, AclOperation.READ, user="nobody")
        secure.allow(ResourceType.GROUP, rig.name, AclOperation.READ, user="nobody")
        eventually(found, lambda lines: lines == [], 30, "the right to read")
    finally:
        rig.close()


@pytest.mark.slow
def test_rights_that_are_missing_are_named(secure: SecureKafka, secure_parts: Parts, tmp_path: Path) -> None:
    rig = Rig(secure_parts, "no-rights", partitions=2)
    nobody = replace(secure.config("SECURE", username="nobody", password="nothing"), topic_prefix=rig.name)
    clickhouse = clickhouse_of(secure_parts, rig)
    worker = ("worker", "--group", rig.name)
    try:
        agent = run(nobody, sys.executable, "-c", AGENT, "4").stderr
        assert f"the user 'nobody' may not use the topic {rig.name}." in agent
        reported = f"until this is fixed: the user 'nobody' may not use the topic {rig.name}."
        says(nobody, reported, clickhouse, tmp_path / "worker", *worker)
        secure.allow(ResourceType.TOPIC, rig.name, AclOperation.READ, AclOperation.WRITE, user="nobody")
        reported = f"until this is fixed: the user 'nobody' may not use the consumer group {rig.name}: add the ACL Read"
        says(nobody, reported, clickhouse, tmp_path / "worker", *worker)
    finally:
        rig.close()


def test_a_group_is_not_set_back_on_some_topics_only(secure: SecureKafka, secure_parts: Parts) -> None:
    rig = Rig(secure_parts, "half-back", partitions=2, kafka=secure.config("SECURE"))
    nobody = replace(secure.config("SECURE", username="nobody", password="nothing"), topic_prefix=rig.name)
    rewind = (*COMMAND, "partitions", "rewind", "--group", rig.name)
    clickhouse = clickhouse_of(secure_parts, rig)
    try:
        allow_all(secure, rig)
        worker = rig.worker(static=False)
        rig.send_steadily(5).join()
        rig.wait_for_commits()
        assert worker.stop(30) == 0
        before = rig.committed()
        secure.allow(ResourceType.GROUP, rig.name, AclOperation.READ, user="nobody")
        secure.allow(ResourceType.TOPIC, REQUESTS.name(rig.name), AclOperation.READ, user="nobody")
        secure.allow(ResourceType.TOPIC, HARDWARE.name(rig.name), AclOperation.DESCRIBE, user="nobody")
        said = run(nobody, *rewind, environment=clickhouse).stderr
        for unreadable in (HARDWARE, REPLICAS):
            assert f"the user 'nobody' may not use the topic {unreadable.name(rig.name)}: add ACLs" in said
        assert rig.committed() == before
        done = run(rig.kafka_config(), *rewind, environment=clickhouse)
        assert f"{REQUESTS.name(rig.name)}/" in done.stdout, done.stderr
    finally:
        rig.close()
