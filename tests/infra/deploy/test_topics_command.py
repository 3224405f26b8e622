"""`endpoint-analytics topics`: creates the topics, and reports any that differ."""

from __future__ import annotations

import pytest

from endpoint_analytics.infra.command import main
from endpoint_analytics.infra.deploy.topics_command import topic_specs
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
