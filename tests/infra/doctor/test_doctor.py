"""The doctor, before a real Kafka, ClickHouse and worker: all well, and each thing that is wrong with how to fix it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from tests.support.parts import Stack
from tests.support.waiting import until

from endpoint_analytics.infra.command import main
from endpoint_analytics.infra.deploy.topics import TopicState
from endpoint_analytics.infra.doctor.clickhouse import check_version, least_skew_s
from endpoint_analytics.infra.doctor.kafka import check_partitions, check_rights, check_topic
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.topics import REQUESTS, TOPIC_CONFIG, TOPICS

TOPIC = "endpoint-analytics.requests"


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("doctor"), partitions=2) as running:
        yield running


@pytest.fixture
def doctor(stack, monkeypatch, capsys):
    """Run the command with the stack's settings; returns its status and its findings."""

    def run(*words: str, **environment: str) -> tuple[int, list[dict[str, str]]]:
        for name, value in (stack.environment | environment).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        status = main(["doctor", "--json", *words])
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def wrong(findings):
    return [finding for finding in findings if finding["level"] != "ok"]


def said(findings, level="failure"):
    return " | ".join(
        f"{finding['text']} => {finding.get('fix', '')}" for finding in findings if finding["level"] == level
    )


def test_all_is_well(stack, doctor):
    until(lambda: not wrong(doctor()[1]), 60, "a first rollup and all partitions read")
    status, findings = doctor()
    assert (status, wrong(findings)) == (0, [])
    texts = " | ".join(finding["text"] for finding in findings)
    for part in (
        f"reached at {stack.kafka.bootstrap_servers} (PLAINTEXT)",
        f"{TOPIC}: 2 partitions, 1 replicas, the broker's timestamps",
        "has the tables of this version",
        "this user may read and write the tables",
        "10 partitions are read",
        "minutes and hours are rolled up",
    ):
        assert part in texts


def test_the_report_for_people(stack, doctor, capsys):
    doctor()
    assert main(["doctor"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("ok      machine: Python 3.")
    assert said.err == "0 failures, 0 warnings\n"
    assert main(["doctor", "--topic-prefix", "nowhere"]) == 1
    assert "FAILURE topics: nowhere.requests does not exist (request batches)" in capsys.readouterr().out


def test_an_agent_needs_no_clickhouse(doctor):
    status, findings = doctor("--agent", ENDPOINT_ANALYTICS_CLICKHOUSE_URL="http://127.0.0.1:1")
    assert (status, wrong(findings)) == (0, [])
    assert {finding["part"] for finding in findings} == {"machine", "Kafka", "topics"}


def test_a_question_about_rights_that_no_broker_answered_is_open():
    (finding,) = check_rights(None, "an agent's topics", "written to")
    assert (finding.level, finding.text.partition(":")[0]) == (
        "warning",
        "whether an agent's topics may be written to is unknown",
    )
    assert [each.level for each in check_rights(["no", "neither"], "it", "read")] == ["failure", "failure"]
    assert [each.level for each in check_rights([], "it", "read")] == ["ok"]


@contextmanager
def topic_setting(stack, **settings):
    """Change the topic's settings, like an operator, and take it back."""

    async def alter(wanted):
        client = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap_servers)
        await client.start()
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, TOPIC, wanted)])
        await client.close()

    asyncio.run(alter(TOPIC_CONFIG | settings))
    try:
        yield
    finally:
        asyncio.run(alter(TOPIC_CONFIG))


@pytest.mark.parametrize(
    ("setting", "value", "fix"),
    [
        ("message.timestamp.type", "CreateTime", "--add-config message.timestamp.type=LogAppendTime"),
        ("max.message.bytes", "1000000", "--add-config max.message.bytes=8388608"),
        ("cleanup.policy", "compact,delete", "--add-config cleanup.policy=delete"),
        ("min.insync.replicas", "2", "--add-config min.insync.replicas=1"),
    ],
)
def test_a_topic_that_was_set_up_wrongly(stack, doctor, setting, value, fix):
    with topic_setting(stack, **{setting: value}):
        status, findings = doctor()
        assert status == 1
        assert fix in said(findings)
    assert doctor()[0] == 0


def test_kafka_is_not_there_or_elsewhere(doctor):
    status, findings = doctor("--kafka", "127.0.0.1:1")
    assert (status, "nothing listens at 127.0.0.1:1" in said(findings)) == (1, True)
    status, findings = doctor("--topic-prefix", "nowhere")
    assert status == 1
    assert (
        "nowhere.signals does not exist (autoscaling signals) => endpoint-analytics topics creates it"
        in said(findings)
    )


def test_clickhouse_is_not_there_refuses_or_is_empty(stack, doctor):
    for words, environment, text in (
        (("--clickhouse-url", "http://127.0.0.1:1"), {}, "no ClickHouse answers at http://127.0.0.1:1"),
        ((), {"ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD": "wrong"}, "refuses the user or the password"),
        (("--clickhouse-database", "empty"), {}, "run 'endpoint-analytics migrate'"),
    ):
        status, findings = doctor(*words, **environment)
        assert (status, text in said(findings)) == (1, True), findings


def test_a_user_who_may_only_read(stack, doctor):
    file = str(stack.clickhouse.analyst_password_file)
    status, findings = doctor("--clickhouse-user", "analyst", "--clickhouse-password-file", file)
    assert status == 1
    assert "max_execution_time is readonly => use a user that may write" in said(findings)


@pytest.mark.slow
def test_no_worker_reads(stack, doctor):
    os.kill(stack.worker.pid, signal.SIGSTOP)
    try:
        until(lambda: "8 of 8 partitions are behind" in said(doctor()[1]), 60, "partitions that are behind")
    finally:
        os.kill(stack.worker.pid, signal.SIGCONT)
    until(lambda: doctor()[0] == 0, 60, "partitions that are read")


def test_messages_that_are_rejected(stack, doctor):
    async def send():
        async with AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap_servers) as producer:
            await producer.send_and_wait(TOPIC, b"{}")

    asyncio.run(send())
    until(
        lambda: "1 messages of the last hour were rejected as" in said(doctor()[1], "warning"),
        60,
        "a rejection",
    )
    assert doctor()[0] == 0  # the pipeline works


def test_directories_of_an_agent(doctor, tmp_path):
    (tmp_path / "file").write_text("")
    status, findings = doctor("--agent", ENDPOINT_ANALYTICS_SPOOL=str(tmp_path / "file" / "spool"))
    assert (status, "is not writable for user" in said(findings)) == (1, True)
    status, findings = doctor(
        "--agent",
        ENDPOINT_ANALYTICS_SPOOL=str(tmp_path / "spool"),
        ENDPOINT_ANALYTICS_SPOOL_BYTES=str(10**17),
    )
    assert (status, "each process may fill" in said(findings, "warning")) == (0, True)


def state(replicas=3, **settings):
    return TopicState(4, replicas, TOPIC_CONFIG | {"min.insync.replicas": "2"} | settings)


def test_settings_of_replicated_topics():
    """Findings of a cluster, which takes minutes to set up."""
    assert [each.level for each in check_topic(REQUESTS, "t", state())] == ["ok"]
    (found,) = check_topic(REQUESTS, "t", state(**{"min.insync.replicas": "3"}))
    assert (found.level, "one broker that restarts stops all writing" in found.text) == ("warning", True)
    (found,) = check_topic(REQUESTS, "t", state(**{"min.insync.replicas": "1"}))
    assert (found.level, "a message that one broker has counts as stored" in found.text) == ("warning", True)
    (found,) = check_topic(REQUESTS, "t", state(**{"retention.ms": "60000"}))
    assert (found.level, "may be gone before a worker reads them" in found.text) == ("warning", True)
    assert check_partitions({topic.name("t"): 8 for topic in TOPICS}, "t") == []
    (found,) = check_partitions({"t.requests": 16, "t.hardware": 8}, "t")
    assert "--partitions 16" in found.fix


def test_versions_and_clocks():
    assert check_version("24.3.5.1", "u", "me").level == "failure"
    assert check_version("24.8.1.1", "u", "me").level == check_version("25.1", "u", "me").level == "ok"
    assert least_skew_s(100.0, 99.0, 2.0) == 0
    assert least_skew_s(100.0, 90.0, 2.0) == 8
    assert least_skew_s(100.0, 105.0, 2.0) == 5


def test_a_table_that_cannot_be_written(stack, doctor):
    config = stack.clickhouse.config("damaged")
    migrate(config)
    client = connect(config)
    client.command("DROP TABLE page_sessions")
    client.close()
    status, findings = doctor("--clickhouse-database", "damaged")
    assert (status, "may not read and write page_sessions" in said(findings)) == (1, True)
