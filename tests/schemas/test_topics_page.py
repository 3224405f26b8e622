"""docs/topics.md: its examples and table match the package, and its program prints what was sent."""

import asyncio
import json
import os
import re
import selectors
import subprocess
import sys
from typing import get_args

import pytest
from aiokafka import AIOKafkaProducer
from tests.schemas.pages import DOCS, blocks

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.pipeline.core.partition import Bounds
from endpoint_analytics.schemas.codec import encode, encode_requests
from endpoint_analytics.schemas.documents import DIRECTORY
from endpoint_analytics.schemas.errors import Reason
from endpoint_analytics.schemas.examples import REQUEST_BATCH
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.limits import MAX_MESSAGE_BYTES
from endpoint_analytics.schemas.message_schemas import MESSAGES
from endpoint_analytics.schemas.metrics import HEARTBEAT_TIMEOUT_S
from endpoint_analytics.schemas.replicas import STATES
from endpoint_analytics.schemas.topics import DAY_MS, DEFAULT_PREFIX, REQUESTS, TOPIC_CONFIG, TOPICS

PAGE = (DOCS / "topics.md").read_text()


def test_the_examples_are_those_of_the_package():
    shown = [
        json.loads(re.sub(r"\s+//.*$", "", block, flags=re.MULTILINE))
        for block in blocks("topics.md", "jsonc")
    ]
    assert shown == [json.loads(encode(message.example)) for message in MESSAGES]


def test_the_example_batch_is_conserved():
    batch, totals = REQUEST_BATCH, REQUEST_BATCH.totals
    pending = batch.pending + len(batch.arrived.at_us) - len(batch.responded.at_us)
    streaming = (
        batch.streaming
        + len(batch.responded.at_us)
        - len(batch.finished.at_us)
        - len(batch.aborted_streaming.at_us)
    )
    ended = totals.finished + totals.aborted_pending + totals.aborted_streaming
    assert totals.arrived == ended + pending + streaming
    assert sum(totals.status.values()) == totals.finished + totals.aborted_streaming + streaming


def test_the_table_is_that_of_the_topics():
    rows = re.findall(r"^\| `(\S+)` \| .* \| (\d+) \| (\d+) days? \|$", PAGE, re.MULTILINE)
    assert rows == [
        (topic.name(DEFAULT_PREFIX), str(topic.partitions), str(topic.retention_ms // DAY_MS))
        for topic in TOPICS
    ]


def test_reasons_states_and_bounds_are_those_of_the_sources():
    (reasons,) = re.findall(r"^Reasons: (.*?)\.$", PAGE, re.MULTILINE | re.DOTALL)
    assert re.findall(r"`(\w+)`", reasons) == list(get_args(Reason))
    assert ", ".join(STATES) in PAGE
    words = " ".join(PAGE.split())
    bounds = Bounds()
    assert (
        f"more than {bounds.late_us // 3_600_000_000} h late or {bounds.early_us // 1_000_000} s early"
        in words
    )
    assert f"at most {MAX_MESSAGE_BYTES // 2**20} MiB" in words
    assert f"Silence for {HEARTBEAT_TIMEOUT_S} s" in words


def test_the_documents_are_where_the_page_says():
    assert (DOCS / "../schemas/json").resolve() == DIRECTORY.resolve()


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    with KafkaProcess(tmp_path_factory.mktemp("topics") / "kafka") as process:
        yield process


async def send(bootstrap_servers: str) -> None:
    batch = REQUEST_BATCH
    key = partition_key(batch.namespace, batch.endpoint, batch.replica_id)
    name = REQUESTS.name(DEFAULT_PREFIX)
    await ensure_topics(bootstrap_servers, [TopicSpec(name, 2, REQUESTS.retention_ms, config=TOPIC_CONFIG)])
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers) as producer:
        for encoding in ("packed", "json"):
            await producer.send_and_wait(name, encode_requests(batch, encoding), key)


def test_the_program_prints_each_finished_request_once(kafka, tmp_path):
    asyncio.run(send(kafka.bootstrap_servers))
    (program,) = blocks("topics.md", "python")
    assert "127.0.0.1:9092" in program
    path = tmp_path / "program.py"
    path.write_text(program.replace("127.0.0.1:9092", kafka.bootstrap_servers))
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE) as process:
        try:
            printed = read_for(process, 60)
            while piece := read_for(process, 1.0):
                printed += piece
        finally:
            process.kill()
    assert printed.decode() == "llm-7d9fc5b8-x2x9q 1790000042260900 429 50.9 ms\n"


def read_for(process, seconds: float) -> bytes:
    """Return the process's next output, or "" if there is none in time."""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return os.read(process.stdout.fileno(), 4096) if selector.select(seconds) else b""
