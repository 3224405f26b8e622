"""`endpoint-analytics messages` prints every message as JSON, whatever its form, and reports unusable ones."""

from __future__ import annotations

import asyncio
import json
import selectors
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from tests.schemas.messages import HARDWARE, REQUESTS, STATE, wire

from endpoint_analytics.infra.command import main
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.schemas.codec import decode_requests, encode, encode_requests
from endpoint_analytics.schemas.rejected import Rejected

BATCH = wire(
    REQUESTS,
    arrived={"at_us": [1]},
    responded={"at_us": [2], "wait_us": [1], "status": [200]},
    finished={"at_us": [3], "duration_us": [2], "status": [200]},
)


async def send(brokers: str, topic: str, *values: bytes | None) -> None:
    async with AIOKafkaProducer(bootstrap_servers=brokers) as producer:
        for number, value in enumerate(values):
            await producer.send_and_wait(topic, value, partition=number % 2)


async def send_to_one(brokers: str, topic: str, *values: bytes | None) -> None:
    async with AIOKafkaProducer(bootstrap_servers=brokers) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, b"key", partition=0)


async def delete(brokers: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


@pytest.fixture
def topics(kafka: KafkaProcess) -> list[str]:
    """Return the options for topics of two partitions each with this test's prefix."""
    prefix = f"messages-{datetime.now(UTC).timestamp():.6f}"
    options = ["--kafka", kafka.bootstrap_servers, "--topic-prefix", prefix]
    assert main(["topics", *options, "--partitions", "2"]) == 0
    return options


def lines(capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, object]], str]:
    said = capsys.readouterr()
    return [json.loads(line) for line in said.out.splitlines()], said.err


def test_both_forms_are_printed_as_json(topics, capsys):
    packed = encode_requests(decode_requests(BATCH), "packed")
    asyncio.run(send(topics[1], f"{topics[3]}.requests", BATCH, packed, b"\x92\x02\x01", packed))
    capsys.readouterr()
    assert main(["messages", "requests", *topics]) == 0
    found, said = lines(capsys)
    assert len(found) == 3
    assert all(message == found[0] for message in found)
    assert found[0]["finished"] == {"at_us": [3], "duration_us": [2], "status": [200]}
    assert f"{topics[3]}.requests/0, offset 1: wrong_shape" in said
    assert main(["messages", "requests", *topics, "--partition", "1", "--metadata"]) == 0
    found, _ = lines(capsys)
    assert [(each["partition"], each["offset"]) for each in found] == [(1, 0), (1, 1)]
    assert found[0]["message"]["version"] == 1
    at = datetime.fromisoformat(found[1]["append_time"])
    assert main(["messages", "requests", *topics, "--since", "2100-01-01"]) == 0
    assert lines(capsys)[0] == []
    assert main(["messages", "requests", *topics, "--since", at.isoformat(), "--partition", "1"]) == 0
    same = datetime.fromisoformat(found[0]["append_time"]) == at
    assert len(lines(capsys)[0]) == 1 + same
    assert main(["messages", "requests", *topics, "--since", "0001-01-01"]) == 0
    assert len(lines(capsys)[0]) == 3


def test_an_empty_topic_is_read_to_its_end(topics, capsys):
    capsys.readouterr()
    assert main(["messages", "signals", *topics]) == 0
    assert lines(capsys) == ([], "")


@contextmanager
def printing(*words: str):
    """Run the command; yields its process, which is ended."""
    command = [sys.executable, "-m", "endpoint_analytics.infra.command", "messages", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_it_follows_from_now_on(topics):
    topic = f"{topics[3]}.hardware"
    asyncio.run(send(topics[1], topic, wire(HARDWARE, seq=77)))
    with printing("hardware", "--follow", *topics) as process:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            seq = 0
            while not selector.select(0.5):  # until it reads
                asyncio.run(send(topics[1], topic, wire(HARDWARE, seq=seq)))
                seq += 1
        assert json.loads(process.stdout.readline())["seq"] < seq
    with printing("hardware", "--follow", "--since", "2000-01-01", "--partition", "0", *topics) as process:
        assert json.loads(process.stdout.readline())["seq"] == 77


def test_rejected_messages_and_what_is_none(topics, capsys):
    message = Rejected(
        topic="t",
        partition=0,
        offset=1,
        append_time_ms=2,
        reason="empty",
        detail="",
        value=b"",
        value_bytes=0,
    )
    asyncio.run(send_to_one(topics[1], f"{topics[3]}.replicas", b"not json", None, wire(STATE)))
    asyncio.run(send_to_one(topics[1], f"{topics[3]}.rejected", b"\xff", encode(message), None))
    capsys.readouterr()
    assert main(["messages", "rejected", *topics]) == 0
    found, said = lines(capsys)
    assert [each["reason"] for each in found] == ["empty"]
    assert "offset 0: not_json" in said
    assert "offset 2: empty" in said
    assert main(["messages", "replicas", *topics]) == 0
    found, said = lines(capsys)
    assert [each["state"] for each in found] == ["running"]
    assert "offset 0: not_json" in said
    assert "offset 1: empty" in said


def test_who_reads_the_first_lines_only_ends_it(topics):
    asyncio.run(send(topics[1], f"{topics[3]}.hardware", *[wire(HARDWARE, seq=seq) for seq in range(2_000)]))
    with printing("hardware", *topics) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["seq"] in (0, 1)
        process.stdout.close()
        assert process.wait(30) == 128 + signal.SIGPIPE
        assert process.stderr.read() == ""


def test_a_topic_that_is_deleted_meanwhile_is_reported(topics):
    with printing("engine", "--follow", *topics) as process:
        time.sleep(2)
        asyncio.run(delete(topics[1], f"{topics[3]}.engine"))
        assert process.stderr is not None
        assert process.wait(60) == 1
        assert f"there is no topic {topics[3]}.engine" in process.stderr.read()


def test_what_is_not_there_is_reported(topics, capsys):
    assert main(["messages", "requests", "--kafka", topics[1], "--topic-prefix", "nobody"]) == 1
    assert "there is no topic nobody.requests" in capsys.readouterr().err
    assert main(["messages", "requests", *topics, "--partition", "2"]) == 1
    assert "has no partition 2, only 0 to 1" in capsys.readouterr().err


@pytest.mark.outside
def test_an_unusable_broker_is_reported(capsys):
    assert main(["messages", "requests", "--kafka", "127.0.0.1:1"]) == 1
    assert "nothing listens at 127.0.0.1:1" in capsys.readouterr().err
    assert main(["messages", "requests", "--kafka-username", "u"]) == 2
