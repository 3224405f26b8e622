"""docs/autoscaling.md: its numbers match the sources, its responses the schemas, and its program works."""

import asyncio
import json
import os
import re
import selectors
import subprocess
import sys
import time

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from tests.schemas.pages import DOCS, blocks

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.pipeline.serve.api.external_models import ExternalMetricValueList
from endpoint_analytics.pipeline.serve.api.models import Autoscaling
from endpoint_analytics.pipeline.store.signals import (
    CURRENT_FOR_S,
    FRESH_FOR_S,
    HARDWARE_WINDOW_S,
    WINDOW_S,
)
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.examples import AUTOSCALING_SIGNAL
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.metrics import HEARTBEAT_TIMEOUT_S
from endpoint_analytics.schemas.topics import DEFAULT_PREFIX, SIGNALS, TOPIC_CONFIG

PAGE = (DOCS / "autoscaling.md").read_text()
WORDS = " ".join(PAGE.split())


def test_numbers_are_those_of_the_sources():
    for said in (
        f"as a mean of the last **{WINDOW_S} s** weighted by time",
        f"of each replica the mean of the last **{HARDWARE_WINDOW_S} s**",
        f"no agent of the endpoint reports for **{FRESH_FOR_S} s**, nothing is known",
        f"after {HEARTBEAT_TIMEOUT_S} s of silence",
        f"end more than {CURRENT_FOR_S} s ago",
    ):
        assert said in WORDS


def test_the_answers_have_the_shapes_of_the_api():
    answer, external = re.findall(r"^    (\{\"(?:namespace|kind)\".*?\})\n\n", PAGE, re.MULTILINE | re.DOTALL)
    shown = msgspec.json.decode(answer.replace(", ...}, ...]", "}]"))
    assert shown.keys() == {field.encode_name for field in msgspec.structs.fields(Autoscaling)}
    assert shown["pending_requests"] == shown["pending_per_replica"] * shown["running_replicas"]
    msgspec.json.decode(external, type=ExternalMetricValueList)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    with KafkaProcess(tmp_path_factory.mktemp("autoscaling") / "kafka") as process:
        name = SIGNALS.name(DEFAULT_PREFIX)
        spec = TopicSpec(name, 2, SIGNALS.retention_ms, config=TOPIC_CONFIG)
        asyncio.run(ensure_topics(process.bootstrap_servers, [spec]))
        yield process


async def send_until_heard(kafka: KafkaProcess, heard) -> None:
    """Send signals to be ignored, and then a current one, until the program prints something."""
    key = partition_key("acme", "llm")
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        end = time.monotonic() + 60
        while not heard() and time.monotonic() < end:
            now_us = int(time.time()) * 1_000_000
            old = msgspec.structs.replace(AUTOSCALING_SIGNAL, pending_requests=90.0)
            unknown = msgspec.structs.replace(
                AUTOSCALING_SIGNAL, at_us=now_us - 1_000_000, pending_requests=None
            )
            now = msgspec.structs.replace(AUTOSCALING_SIGNAL, at_us=now_us)
            for signal in (old, unknown, now, now):
                await producer.send_and_wait(SIGNALS.name(DEFAULT_PREFIX), encode(signal), key)
            await asyncio.sleep(0.2)


def test_the_program_says_what_it_would_do(kafka, tmp_path):
    (program,) = blocks("autoscaling.md", "python")
    assert "127.0.0.1:9092" in program
    path = tmp_path / "program.py"
    path.write_text(program.replace("127.0.0.1:9092", kafka.bootstrap_servers))
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE) as process:
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                asyncio.run(send_until_heard(kafka, lambda: selector.select(0)))
            said = os.read(process.stdout.fileno(), 4096).decode().splitlines()
        finally:
            process.kill()
    assert set(said) == {"acme/llm: 3.50 pending, 2 run, 3 wanted"}


def test_the_example_signal_is_the_page_s_arithmetic():
    signal = json.loads(encode(AUTOSCALING_SIGNAL))
    assert signal["pending_per_replica"] * signal["running_replicas"] == signal["pending_requests"]
    replicas = signal["replicas"]
    assert sum(each["pending_requests"] for each in replicas) == signal["pending_requests"]
    assert (
        sum(each["pending_requests"] + each["streaming_requests"] for each in replicas)
        == signal["active_requests"]
    )
    assert sum(each["cpu_percent"] for each in replicas) / 2 == signal["cpu_percent"]
