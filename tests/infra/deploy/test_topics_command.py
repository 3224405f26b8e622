"""`endpoint-analytics topics`: creates the topics, and reports any that differ."""

from __future__ import annotations

import asyncio

import pytest

from endpoint_analytics.infra.command import main
from endpoint_analytics.infra.deploy.topics import ensure_topics
from endpoint_analytics.infra.deploy.topics_command import LogRetention, topic_specs
from endpoint_analytics.infra.local.kafka.errors import TopicMismatchError
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.schemas.topics import TOPICS


def test_it_makes_what_is_missing_and_says_what_differs(
    kafka: KafkaProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["topics", "--kafka", kafka.bootstrap_servers, "--topic-prefix", "by-command"]
    for _ in range(2):
        assert main([*command, "--partitions", "3"]) == 0
        said = capsys.readouterr().out.splitlines()
        assert len(said) == len(TOPICS)
        assert "by-command.requests: 3 partitions, 1 replicas each" in said
        assert "by-command.rejected: 1 partitions, 1 replicas each" in said
    assert main([*command, "--partitions", "4"]) == 1
    assert "topic by-command.requests: partitions is 3, should be 4. To fix" in capsys.readouterr().err


@pytest.mark.outside
def test_an_unusable_broker_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", "--kafka", "127.0.0.1:1"]) == 1
    assert "nothing listens at 127.0.0.1:1" in capsys.readouterr().err
    assert main(["topics", "--kafka", "127.0.0.1:1", "--kafka-username", "u"]) == 2
    assert "kafka_username would have no effect" in capsys.readouterr().err


@pytest.mark.parametrize(("factor", "in_sync"), [(1, None), (2, None), (3, "2"), (5, "4")])
def test_with_three_replicas_all_but_one_must_be_in_sync(factor: int, in_sync: str | None) -> None:
    assert {spec.config.get("min.insync.replicas") for spec in topic_specs("t", None, factor)} == {in_sync}


def test_retention_is_set_by_options_or_variables(
    kafka: KafkaProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["topics", "--kafka", kafka.bootstrap_servers, "--topic-prefix", "kept"]
    monkeypatch.setenv("ENDPOINT_ANALYTICS_KAFKA_RETENTION_HOURS", "48")
    monkeypatch.setenv("ENDPOINT_ANALYTICS_KAFKA_RETENTION_BYTES", "100000000")
    assert main(command) == 0
    assert main([*command, "--retention-hours", "72"]) == 1
    said = capsys.readouterr().err
    assert "topic kept.requests: retention.ms is 172800000, should be 259200000" in said
    assert "kept.rejected" not in said  # for operators: as long as ever
    assert main([*command, "--retention-hours", "5"]) == 2
    assert (
        "kafka_retention_hours is '5': expected a whole number of hours, 24 or more"
        in capsys.readouterr().err
    )
    assert main([*command, "--retention-bytes", "0"]) == 2
    assert "kafka_retention_bytes is '0'" in capsys.readouterr().err
    monkeypatch.setenv("ENDPOINT_ANALYTICS_KAFKA_RETENTION_BYTES", "1000")
    assert main(command) == 2
    assert "kafka_retention_bytes is '1000': expected a whole number of bytes" in capsys.readouterr().err


def test_what_runs_kafka_itself_sets_the_retention_of_existing_topics(kafka: KafkaProcess) -> None:
    servers = kafka.bootstrap_servers

    def ensure(retention: LogRetention, *, set_retention: bool) -> None:
        specs = topic_specs("changed", 2, 1, retention)
        asyncio.run(ensure_topics(servers, specs, set_retention=set_retention))

    ensure(LogRetention(), set_retention=True)
    ensure(LogRetention(48, 100_000_000), set_retention=True)
    ensure(LogRetention(48, 100_000_000), set_retention=False)
    with pytest.raises(TopicMismatchError, match=r"changed\.requests: retention\.ms is 172800000"):
        ensure(LogRetention(), set_retention=False)
    ensure(LogRetention(), set_retention=True)  # back to the defaults, and without a limit of bytes
    ensure(LogRetention(168, -1), set_retention=False)
