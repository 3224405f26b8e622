"""The commands that report states and settings: with a real Kafka, and without one."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer

from endpoint_analytics.agents.core.config import KafkaConfig
from endpoint_analytics.agents.delivery.orchestrator_events import (
    SendError,
    send_endpoint_settings,
    send_replica_state,
)
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
    error = capsys.readouterr().err
    assert "Kafka at 127.0.0.1:1 cannot be used (tried for 0.2 s): nothing listens at" in error
    assert "--kafka" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("command", ["replica", "endpoint"])
def test_set_is_a_subcommand_with_its_own_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "set", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: endpoint-analytics {command} set [-h] --namespace NAME" in shown
    assert "--timeout SECONDS" in shown


@pytest.mark.parametrize("command", ["replica", "endpoint"])
def test_a_missing_subcommand_is_a_usage_error(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"usage: endpoint-analytics {command} [-h] set" in error
    assert "the following arguments are required: set" in error


@pytest.mark.parametrize("command", ["replica", "endpoint"])
@pytest.mark.parametrize(
    "words", [["hunter2"], ["--kafka-password", "hunter2", "set"], ["--kafka-pass", "hunter2"]], ids=" ".join
)
def test_a_word_in_the_place_of_set_is_not_repeated(command, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, *words])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "argument set: expected the word set" in error
    assert "hunter2" not in error


def test_options_of_set_cannot_be_abbreviated(capsys):
    with pytest.raises(SystemExit):
        main(["replica", "set", *NAMES, "--replica-id", "r", "--stat", "failed", "--state", "failed"])
    assert "unrecognized arguments: --stat ..." in capsys.readouterr().err


def test_a_missing_topic_is_reported(kafka):
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
    assert "'yesterday' is not an ISO 8601 time" in capsys.readouterr().err


def test_unusable_security_settings_are_reported(capsys, monkeypatch):
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
