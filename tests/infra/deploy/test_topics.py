"""Topics are created as configured; an existing one that differs is an error with a fix, and is not changed."""

import asyncio
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from endpoint_analytics.infra.deploy.topics import TopicSpec, TopicState, differences, ensure_topics
from endpoint_analytics.infra.local.kafka.errors import KafkaError, TopicMismatchError
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig

SPEC = TopicSpec("t", partitions=3, retention_ms=60_000)


def ensure(kafka: KafkaProcess, *specs: TopicSpec) -> None:
    asyncio.run(ensure_topics(kafka.bootstrap_servers, specs))


def partition_counts(kafka: KafkaProcess) -> dict[str, int]:
    async def read() -> dict[str, int]:
        client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        await client.start()
        try:
            return {topic["topic"]: len(topic["partitions"]) for topic in await client.describe_topics()}
        finally:
            await client.close()

    return asyncio.run(read())


def state(**changes: object) -> TopicState:
    settings = {"retention.ms": "60000", "message.timestamp.type": "LogAppendTime", "other": "x"}
    return replace(TopicState(3, 1, settings), **changes)  # type: ignore[arg-type]


def test_a_topic_as_it_should_be_has_no_differences() -> None:
    assert differences(SPEC, state()) == []


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            state(partitions=2),
            "partitions is 2, should be 3. To fix: kafka-topics.sh --alter --topic t --partitions 3",
        ),
        (
            state(partitions=4),
            (
                "partitions is 4, should be 3. To fix: Kafka cannot remove partitions: "
                "configure that number, or delete the topic and its messages"
            ),
        ),
        (
            state(replication_factor=2),
            (
                "replication factor is 2, should be 1. "
                "To fix: kafka-reassign-partitions.sh, or configure that number"
            ),
        ),
        (
            state(settings={"retention.ms": "60000", "message.timestamp.type": "CreateTime"}),
            (
                "message.timestamp.type is CreateTime, should be LogAppendTime. To fix: kafka-configs.sh --alter "
                "--entity-type topics --entity-name t --add-config message.timestamp.type=LogAppendTime"
            ),
        ),
    ],
)
def test_each_difference_is_reported_with_its_fix(found: TopicState, line: str) -> None:
    assert differences(SPEC, found) == [f"topic t: {line}"]


def test_missing_topics_are_made_and_those_that_are_there_are_left(kafka: KafkaProcess) -> None:
    first = TopicSpec("made-1", 3, 60_000)
    second = TopicSpec("made-2", 1, 120_000, config={"cleanup.policy": "compact"})
    ensure(kafka, first)
    ensure(kafka, first, second)
    ensure(kafka, second, first)
    counts = partition_counts(kafka)
    assert (counts["made-1"], counts["made-2"]) == (3, 1)
    ensure(kafka)


def test_all_differences_are_reported_at_once_and_nothing_is_changed(kafka: KafkaProcess) -> None:
    spec = TopicSpec("differs", 2, 60_000, config={"message.timestamp.type": "CreateTime"})
    ensure(kafka, spec)
    with pytest.raises(TopicMismatchError) as caught:
        ensure(kafka, TopicSpec("differs", 3, 60_001), TopicSpec("made-beside", 1, 60_000))
    lines = str(caught.value).splitlines()
    assert [line.split(". To fix")[0] for line in lines] == [
        "topic differs: partitions is 2, should be 3",
        "topic differs: retention.ms is 60000, should be 60001",
        "topic differs: message.timestamp.type is CreateTime, should be LogAppendTime",
    ]
    ensure(kafka, spec)


def test_two_that_make_the_same_topics_at_once_both_succeed(kafka: KafkaProcess) -> None:
    async def both() -> None:
        specs = [TopicSpec(f"race-{number}", 1, 60_000) for number in range(5)]
        await asyncio.gather(*(ensure_topics(kafka.bootstrap_servers, specs) for _ in range(4)))

    asyncio.run(both())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            TopicSpec("three-replicas", 1, 60_000, replication_factor=3),
            "cannot create topic three-replicas: .*3",
        ),
        (
            TopicSpec("wrong", 1, 60_000, config={"cleanup.policy": "burn"}),
            "cannot create topic wrong: .*burn",
        ),
        (TopicSpec("no good", 1, 60_000), "cannot create topic no good: "),
    ],
)
def test_a_topic_that_the_broker_refuses_is_an_error_with_its_words(
    kafka: KafkaProcess, spec: TopicSpec, words: str
) -> None:
    with pytest.raises(KafkaError, match=words):
        ensure(kafka, spec)


def test_a_broker_that_is_not_there_or_speaks_otherwise_is_an_error_naming_it(kafka: KafkaProcess) -> None:
    nobody = f"127.0.0.1:{free_port('127.0.0.1')}"
    with pytest.raises(KafkaError, match=f"cannot set up topics on {nobody}"):
        asyncio.run(ensure_topics(nobody, [SPEC]))
    config = KafkaConfig(
        bootstrap_servers=kafka.bootstrap_servers,
        security_protocol="SASL_PLAINTEXT",
        username="a",
        password="b",
    )
    with pytest.raises(
        KafkaError, match=f"cannot set up topics on {kafka.bootstrap_servers}: .*requires no login"
    ):
        asyncio.run(ensure_topics(config, [SPEC]))
