"""What may be wrong with a Collector's topic: it is missing, cut off, or has messages that cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka.admin import AclOperation, ResourceType
from tests.agents.otlp.receiving import Running, body_of, in_a_loop, running
from tests.faults import segments
from tests.faults.kafka_proxy import KafkaProxy
from tests.support.secure_kafka import SecureKafka
from tests.support.waiting import until_async

from endpoint_analytics.agents.delivery import outage
from endpoint_analytics.agents.otlp import topic_reader
from endpoint_analytics.agents.otlp.reading import STEP_SPANS
from endpoint_analytics.agents.otlp.topic_reader import TopicReader
from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.topics import REPLICAS, REQUESTS, TOPIC_CONFIG

TOPIC = "otlp_spans"


@asynccontextmanager
async def reading(
    kafka: KafkaConfig, topic: str, spans_kafka: KafkaConfig | None = None
) -> AsyncIterator[Running]:
    """Run a reader of the topic, whose Kafka may be reached in another way than that of the requests."""
    async with running(kafka) as receiver:
        reader = TopicReader(
            spans_kafka or kafka, None, topic, f"{topic}.otlp", "earliest", receiver.admission, receiver.tally
        )
        task = asyncio.create_task(reader.run())
        try:
            yield receiver
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def produce(kafka: KafkaConfig, topic: str, *messages: bytes) -> None:
    """Write each message as a record batch of its own."""
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, max_request_size=2**23
    ) as producer:
        for message in messages:
            await producer.send_and_wait(topic, message, partition=0)


def accepted(receiver: Running) -> int:
    return receiver.tally.spans["accepted"]


async def until_accepted(receiver: Running, number: int) -> None:
    await until_async(lambda: accepted(receiver) >= number, 20, f"{number} spans; {accepted(receiver)} now")


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaProcess]:
    with KafkaProcess(tmp_path / "kafka") as process:
        yield process


def test_batches_that_a_disk_spoilt_are_stepped_over(
    own_kafka: KafkaProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A flipped bit, and noise with a valid checksum."""
    kafka = KafkaConfig(bootstrap_servers=own_kafka.bootstrap_servers)
    names = [TOPIC, REQUESTS.name(kafka.topic_prefix), REPLICAS.name(kafka.topic_prefix)]
    specs = [TopicSpec(name, 1, 3_600_000, config=TOPIC_CONFIG) for name in names]
    asyncio.run(ensure_topics(kafka.bootstrap_servers, specs))
    asyncio.run(
        produce(kafka, TOPIC, *(body_of(number) for number in range(1, 6)), b"not a protobuf message")
    )
    own_kafka.stop(60)  # cleanly: after a crash it would look through its segments, and cut them
    [directory] = (tmp_path / "kafka").rglob(f"{TOPIC}-0")
    segments.edit(directory, 1, segments.flipped)
    segments.edit(directory, 3, segments.garbage)
    own_kafka.start()

    async def read() -> None:
        async with reading(kafka, TOPIC) as receiver:
            await until_accepted(receiver, 3)
            await until_async(lambda: receiver.tally.bad_bodies.count, 20, "the last message")
            assert (accepted(receiver), receiver.tally.unreadable.count) == (3, 2)

    asyncio.run(read())
    assert (
        "1 offsets of the topic cannot be read, and are skipped: otlp_spans/0, record batch, offset 1"
        in caplog.text
    )
    assert "1 exports cannot be used, the last one: otlp_spans/0 at 5: " in caplog.text


@in_a_loop
async def test_a_topic_that_is_missing(
    kafka_config: KafkaConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_reader, "UNREADABLE_AFTER_S", 0.0)
    monkeypatch.setattr(topic_reader, "METADATA_MS", 500)
    topic = f"{kafka_config.topic_prefix}.spans"
    async with reading(kafka_config, topic) as receiver:
        await until_async(lambda: f"there is no topic {topic}" in caplog.text, 20, "the reason")
        assert "no spans are read until this is fixed" in caplog.text
        await ensure_topics(kafka_config.bootstrap_servers, [TopicSpec(topic, 1, 3_600_000)])
        await produce(kafka_config, topic, body_of(1, 2))
        await until_accepted(receiver, 2)


def test_rights_that_are_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is named, until all are there; then the topic is read."""
    for name, value in (("UNREADABLE_AFTER_S", 0.0), ("UNREADABLE_EVERY_S", 0.2), ("METADATA_MS", 500)):
        monkeypatch.setattr(topic_reader, name, value)
    monkeypatch.setattr(outage, "WARN_EVERY_NS", 0)
    with SecureKafka(tmp_path) as secure:
        open_to_all = KafkaConfig(bootstrap_servers=secure.process.bootstrap_servers)
        specs = [
            TopicSpec(name, 1, 3_600_000) for name in ("spans", REQUESTS.name("ours"), REPLICAS.name("ours"))
        ]
        asyncio.run(ensure_topics(open_to_all.bootstrap_servers, specs))
        asyncio.run(produce(open_to_all, "spans", body_of(1, 2)))
        secure.allow(ResourceType.TOPIC, "ours", AclOperation.WRITE, AclOperation.DESCRIBE)
        config = replace(secure.config("LOGIN"), topic_prefix="ours")

        async def read() -> None:
            async with reading(config, "spans") as receiver:
                for kind, operation, missing in (
                    (ResourceType.TOPIC, AclOperation.DESCRIBE, "may not use the topic spans"),
                    (ResourceType.GROUP, AclOperation.READ, "may not use the consumer group spans.otlp"),
                    (ResourceType.TOPIC, AclOperation.READ, "may not use the topic spans"),
                ):
                    caplog.clear()
                    await until_async(lambda missing=missing: missing in caplog.text, 20, missing)
                    await asyncio.to_thread(secure.allow, kind, "spans", operation)
                await until_accepted(receiver, 2)

        asyncio.run(read())


@in_a_loop
async def test_a_kafka_that_is_cut_off(kafka_config: KafkaConfig, caplog: pytest.LogCaptureFixture) -> None:
    topic = f"{kafka_config.topic_prefix}.spans"
    await ensure_topics(kafka_config.bootstrap_servers, [TopicSpec(topic, 1, 3_600_000)])
    with KafkaProxy(kafka_config.bootstrap_servers) as proxy:
        proxy.shut()
        through = replace(kafka_config, bootstrap_servers=proxy.bootstrap_servers)
        async with reading(kafka_config, topic, through) as receiver:
            await until_async(lambda: "cannot be read; retrying" in caplog.text, 20, "the complaint")
            proxy.open()
            await produce(kafka_config, topic, body_of(1, 2, 3))
            await until_accepted(receiver, 3)
    assert accepted(receiver) == 3


@in_a_loop
async def test_large_messages_do_not_hold_up_the_event_loop(
    kafka_config: KafkaConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two steps of a message, whatever else is due runs."""
    topic = f"{kafka_config.topic_prefix}.spans"
    await ensure_topics(kafka_config.bootstrap_servers, [TopicSpec(topic, 1, 3_600_000)])
    messages, spans = 4, 3_000
    for first in range(0, messages * spans, spans):
        await produce(kafka_config, topic, body_of(*range(first + 1, first + spans + 1)))
    others = 0

    async def run_beside(receiver: Running) -> None:
        nonlocal others
        while accepted(receiver) < messages * spans:
            others += 1
            await asyncio.sleep(0)

    async with reading(kafka_config, topic) as receiver:
        await until_accepted(receiver, 1)
        others = 0
        before = accepted(receiver)
        async with asyncio.timeout(60):
            await run_beside(receiver)
    assert others >= (messages * spans - before) // STEP_SPANS
