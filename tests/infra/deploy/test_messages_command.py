"""`endpoint-analytics messages` prints every message as JSON, whatever its form, and reports unusable ones."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaProducer
from tests.schemas.messages import HARDWARE, REQUESTS, wire

from endpoint_analytics.infra.command import main
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.schemas.codec import decode_requests, encode_requests

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
    assert len(lines(capsys)[0]) >= 1


def test_an_empty_topic_is_read_to_its_end(topics, capsys):
    capsys.readouterr()
    assert main(["messages", "signals", *topics]) == 0
    assert lines(capsys) == ([], "")


def test_it_follows(topics):
    command = [
        sys.executable,
        "-m",
        "endpoint_analytics.infra.command",
        "messages",
        "hardware",
        "--follow",
        *topics,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            asyncio.run(send(topics[1], f"{topics[3]}.hardware", wire(HARDWARE), wire(HARDWARE, seq=1)))
            assert process.stdout is not None
            seqs = {json.loads(process.stdout.readline())["seq"] for _ in range(2)}
        finally:
            process.terminate()
    assert seqs == {0, 1}


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
