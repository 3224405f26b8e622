"""The receiver over real HTTP, with a Kafka that cannot be reached: what is refused, and what is asked for again."""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
import ssl
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest
import trustme
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tests.agents.otlp.exports import export, server_span

from endpoint_analytics.agents.delivery.outage import Outage
from endpoint_analytics.agents.delivery.producer import Producer
from endpoint_analytics.agents.otlp import receiver as receiver_module
from endpoint_analytics.agents.otlp.decoding import JSON, PROTOBUF
from endpoint_analytics.agents.otlp.delivery import Delivery
from endpoint_analytics.agents.otlp.identity import Fixed
from endpoint_analytics.agents.otlp.intake import Intake
from endpoint_analytics.agents.otlp.receiver import Receiver, listening
from endpoint_analytics.agents.otlp.replicas import Replicas
from endpoint_analytics.agents.otlp.settings import Limits
from endpoint_analytics.agents.otlp.state_sender import StateSender
from endpoint_analytics.agents.otlp.tally import Tally
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig

pytestmark = pytest.mark.outside

HEADERS = {"Content-Type": PROTOBUF}


def in_a_loop(test):
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(*arguments, **named):
        asyncio.run(test(*arguments, **named))

    return run


@asynccontextmanager
async def receiving(*, token="", limits=None, max_waiting=1_000, tls=None, sends=True):
    """Yield the address of a receiver that cannot reach Kafka."""
    servers = f"127.0.0.1:{free_port('127.0.0.1')}"
    intake = Intake(Fixed(), 1_000)
    kafka, outage = KafkaConfig(bootstrap_servers=servers), Outage(servers)
    delivery = Delivery(
        Producer(kafka, None, outage),
        "requests",
        StateSender("replicas", Producer(kafka, None, outage)),
        Replicas(900_000_000),
        intake.forget,
        lambda: time.time_ns() // 1_000,
        max_waiting=max_waiting,
    )
    receiver = Receiver(intake, delivery, Tally(), token, limits or Limits(answer_s=0.05))
    sending = asyncio.create_task(delivery.run()) if sends else None
    async with listening(receiver, "127.0.0.1", 0, tls) as port:
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{port}"
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.wait({sending})


async def post(url, body, headers=HEADERS, path="/v1/traces", **options):
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}{path}", data=body, headers=headers, **options) as answer,
    ):
        return answer.status, dict(answer.headers), await answer.read()


def body_of(*numbers: int, **options) -> bytes:
    now_us = time.time_ns() // 1_000
    return export(*(server_span(number, end_us=now_us) for number in numbers), **options).SerializeToString()


@in_a_loop
async def test_without_kafka_it_asks_for_the_same_again_and_counts_it_once():
    async with receiving() as url:
        body = body_of(1, 2)
        for _ in range(3):
            status, headers, _ = await post(url, body)
            assert (status, headers["Retry-After"]) == (503, "2")
        async with aiohttp.ClientSession() as session, session.get(f"{url}/status") as answer:
            figures = await answer.json()
        assert figures["spans"]["accepted"] == figures["waiting"] == 2
        assert figures["spans"]["repeated"] == 4


@in_a_loop
async def test_a_full_queue_asks_to_come_later_and_takes_nothing():
    async with receiving(max_waiting=2, sends=False) as url:
        assert (await post(url, body_of(1, 2)))[0] == 503
        status, headers, _ = await post(url, body_of(3))
        assert (status, headers["Retry-After"]) == (429, "2")
        async with aiohttp.ClientSession() as session, session.get(f"{url}/status") as answer:
            assert (await answer.json())["spans"]["accepted"] == 2


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
@in_a_loop
async def test_rejected_spans_are_a_partial_success(kind, caplog):
    """Nothing waits for Kafka, so the answer comes at once."""
    async with receiving() as url:
        body = body_of(1, names={"service.name": "shop"}) if kind == PROTOBUF else b"{}"
        status, headers, answer = await post(url, body, {"Content-Type": kind})
    assert (status, headers["Content-Type"]) == (200, kind)
    if kind == JSON:
        assert json.loads(answer) == {}
    else:
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
        assert partial.rejected_spans == 1
        assert "service.namespace" in partial.error_message
        assert "1 no_namespace" in caplog.text


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff", HEADERS, 400),
        (b"x", {"Content-Type": "text/plain"}, 415),
        (b"x", {}, 415),
        (b"x" * 2_000, HEADERS, 413),
        (gzip.compress(bytes(2_000), mtime=0), HEADERS | {"Content-Encoding": "gzip"}, 413),
        (b"x", HEADERS | {"Content-Encoding": "br"}, 415),
    ],
)
@in_a_loop
async def test_what_must_not_be_sent_again(body, headers, status):
    async with receiving(limits=Limits(body_bytes=1_000)) as url:
        found, answered, _ = await post(url, body, headers)
        assert found == status
        assert "Retry-After" not in answered
        assert (await post(url, b""))[0] == 200


@in_a_loop
async def test_a_body_in_pieces_is_limited_too():
    async def pieces():
        for _ in range(20):
            yield b"x" * 100

    async with receiving(limits=Limits(body_bytes=1_000)) as url:
        assert (await post(url, pieces()))[0] == 413


@in_a_loop
async def test_bodies_that_are_read_at_once_are_limited_together():
    async with receiving(limits=Limits(reading_bytes=1_000)) as url:
        status, headers, _ = await post(url, b"x" * 2_000)
        assert (status, headers["Retry-After"]) == (429, "2")
        assert (await post(url, b""))[0] == 200


@in_a_loop
async def test_other_paths_and_methods():
    async with receiving() as url:
        assert (await post(url, b"", path="/v1/metrics"))[0] == 404
        async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/traces") as answer:
            assert answer.status == 405


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        ("Basic c2VjcmV0", 401),
        ("Bearer secrét", 401),
        ("Bearer secret", 200),
        ("bearer secret", 200),
    ],
)
@in_a_loop
async def test_the_token(authorization, status):
    async with receiving(token="secret") as url:
        headers = HEADERS | ({} if authorization is None else {"Authorization": authorization})
        assert (await post(url, b"", headers))[0] == status
        async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{url}/status") as answer:
            assert answer.status == status


@in_a_loop
async def test_connections_are_limited(monkeypatch):
    monkeypatch.setattr(receiver_module, "MAX_CONNECTIONS", 2)
    async with receiving() as url:
        port = int(url.rpartition(":")[2])
        open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await until_refused(port)
        for _, writer in open_ones:
            writer.close()
        async with asyncio.timeout(30):
            while (await post_once(url)) != 200:
                await asyncio.sleep(0)


async def until_refused(port: int) -> None:
    """Connect until the connection is closed without an answer: the server notices the earlier ones a moment later."""
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()


async def post_once(url: str) -> int:
    try:
        return (await post(url, b""))[0]
    except aiohttp.ClientError:
        return 0


@in_a_loop
async def test_tls():
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with receiving(tls=server) as url:
        assert (await post(url, b"", ssl=client))[0] == 200
