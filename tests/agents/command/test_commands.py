"""The commands that tell states and settings: on a real Kafka, and with none."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer

from endpoint_analytics.agents.core.config import KafkaConfig
from endpoint_analytics.agents.delivery.events import SendError, send_endpoint_settings, send_replica_state
from endpoint_analytics.infra.command import main
from endpoint_analytics.schemas.codec import decode_replicas
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.replicas import EndpointSettings, ReplicaState
from endpoint_analytics.schemas.topics import REPLICAS

NAMES = ["--namespace", "acme", "--endpoint", "classifier"]
REPLICA = ["replica", "set", *NAMES, "--replica-id", "replica-1"]
NOWHERE = KafkaConfig(bootstrap_servers="127.0.0.1:1")


def read(kafka: KafkaConfig, number: int) -> list[tuple[bytes, object]]:
    async def read():
        consumer = AIOKafkaConsumer(
            REPLICAS.name(kafka.topic_prefix),
            bootstrap_servers=kafka.bootstrap_servers,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            messages = [await asyncio.wait_for(consumer.getone(), 10) for _ in range(number)]
        finally:
            await consumer.stop()
        return [(message.key, decode_replicas(message.value)) for message in messages]

    return asyncio.run(read())


def test_commands_and_calls_reach_the_topic(kafka_config, monkeypatch):
    monkeypatch.setenv("ENDPOINT_ANALYTICS_TOPIC_PREFIX", kafka_config.topic_prefix)
    where = ["--kafka", kafka_config.bootstrap_servers]
    at = ["--at", "2026-01-31T12:00:00.000001Z"]
    assert main([*REPLICA, "--state", "downloading", "--reason", "weights", *at, *where]) == 0
    assert main(["endpoint", "set", *NAMES, "--min-replicas", "1", "--max-replicas", "4", *where]) == 0
    send_replica_state("acme", "classifier", "replica-1", "failed", kafka=kafka_config)
    send_endpoint_settings(
        "acme",
        "classifier",
        min_replicas=0,
        max_replicas=2,
        at_us=1_700_000_000_000_000,
        kafka=kafka_config,
    )
    (first, second, third, fourth) = read(kafka_config, 4)
    assert first == (
        b"acme/classifier/replica-1",
        ReplicaState(
            namespace="acme",
            endpoint="classifier",
            replica_id="replica-1",
            at_us=1_769_860_800_000_001,
            state="downloading",
            reason="weights",
        ),
    )
    assert second[0] == b"acme/classifier/"
    assert (second[1].min_replicas, second[1].max_replicas) == (1, 4)
    assert third[1].state == "failed"
    assert fourth[1] == EndpointSettings(
        namespace="acme", endpoint="classifier", at_us=1_700_000_000_000_000, min_replicas=0, max_replicas=2
    )


@pytest.mark.outside
@pytest.mark.parametrize(
    "command",
    [
        [*REPLICA, "--state", "failed"],
        ["endpoint", "set", *NAMES, "--min-replicas", "1", "--max-replicas", "2"],
    ],
)
def test_kafka_that_cannot_be_reached_is_status_1(command, capsys):
    assert main([*command, "--kafka", "127.0.0.1:1", "--timeout", "0.2"]) == 1
    told = capsys.readouterr().err
    assert "Kafka at 127.0.0.1:1 cannot be used (tried for 0.2 s): nothing listens at" in told
    assert "--kafka" in told
    assert len(told.splitlines()) == 1


def test_a_topic_that_is_missing_is_told(kafka):
    config = KafkaConfig(bootstrap_servers=kafka.bootstrap_servers, topic_prefix="nobody-made-it")
    with pytest.raises(SendError, match=r"nobody-made-it\.replicas"):
        send_replica_state("acme", "classifier", "replica-1", "failed", kafka=config, timeout_s=1)


def test_bad_values_are_refused_here(capsys):
    assert main(["endpoint", "set", *NAMES, "--min-replicas", "3", "--max-replicas", "2"]) == 1
    assert "min_replicas is 3, more than max_replicas (2)" in capsys.readouterr().err
    assert (
        main(
            [
                "endpoint",
                "set",
                "--namespace",
                "a/b",
                "--endpoint",
                "x",
                "--min-replicas",
                "1",
                "--max-replicas",
                "2",
            ]
        )
        == 1
    )
    assert "namespace is 'a/b'" in capsys.readouterr().err
    with pytest.raises(InvalidMessageError):
        send_replica_state("acme", "classifier", "replica-1", "sleeping", kafka=NOWHERE)
    with pytest.raises(SystemExit):
        main([*REPLICA, "--state", "failed", "--at", "yesterday"])
    assert "'yesterday' is no ISO 8601 time" in capsys.readouterr().err


def test_security_settings_that_cannot_work_are_told(capsys, monkeypatch):
    assert main([*REPLICA, "--state", "failed", "--kafka-security-protocol", "SASL_SSL"]) == 1
    assert "ENDPOINT_ANALYTICS_KAFKA_PASSWORD" in capsys.readouterr().err
    assert (
        main([*REPLICA, "--state", "failed", "--kafka-security-protocol", "SSL", "--kafka-ca-file", "/no"])
        == 1
    )
    assert (
        "kafka_ca_file is '/no' (No such file or directory): expected the path of a readable PEM file"
        in capsys.readouterr().err
    )
