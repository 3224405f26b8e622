"""A whole replica: uvicorn as a process of its own, configured by the environment, ended by SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import defaultdict

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.support.waiting import until_open

from endpoint_analytics.schemas.codec import decode_replicas, decode_requests
from endpoint_analytics.schemas.topics import REPLICAS, REQUESTS

APPLICATION = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware

async def hello(request):
    return PlainTextResponse("hello")

app = Starlette(routes=[Route("/", hello)])
app.add_middleware(AnalyticsMiddleware)
"""


async def read(kafka, topic):
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(topic.name(kafka.topic_prefix), 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        return [(await asyncio.wait_for(consumer.getone(), 10)).value for _ in range(end)]
    finally:
        await consumer.stop()


async def ask(port, number):
    """Each request on a connection of its own, so that every worker gets some."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one():
            async with session.get(f"http://127.0.0.1:{port}/") as answer:
                assert await answer.text() == "hello"

        await asyncio.gather(*(one() for _ in range(number)))


@pytest.mark.parametrize("workers", [1, 2])
def test_every_request_of_every_worker_reaches_kafka(kafka_config, tmp_path, workers):
    (tmp_path / "application.py").write_text(APPLICATION)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "ENDPOINT_ANALYTICS_NAMESPACE": "acme",
        "ENDPOINT_ANALYTICS_ENDPOINT": "classifier",
        "ENDPOINT_ANALYTICS_REPLICA_ID": "replica-1",
        "ENDPOINT_ANALYTICS_KAFKA": kafka_config.bootstrap_servers,
        "ENDPOINT_ANALYTICS_TOPIC_PREFIX": kafka_config.topic_prefix,
    }
    command = [sys.executable, "-m", "uvicorn", "application:app", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--workers", str(workers), "--log-level", "warning"], cwd=tmp_path, env=environment
    )
    try:
        until_open(port, process)
        asyncio.run(ask(port, 200))
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()

    boots = defaultdict(list)
    for value in asyncio.run(read(kafka_config, REQUESTS)):
        batch = decode_requests(value)
        assert batch.replica_id == "replica-1"
        boots[batch.boot_id].append(batch)
    for batches in boots.values():
        assert [batch.seq for batch in batches] == list(range(len(batches)))
        assert batches[-1].totals.finished == sum(len(batch.finished.at_us) for batch in batches)
    assert len(boots) == workers
    assert sum(batches[-1].totals.finished for batches in boots.values()) == 200
    events = [decode_replicas(value) for value in asyncio.run(read(kafka_config, REPLICAS))]
    states = [event.state for event in sorted(events, key=lambda event: event.at_us)]
    assert states == ["initializing", "running", "draining", "terminated"]
