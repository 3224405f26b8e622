"""The receiver over real HTTP, with a Kafka that cannot be reached: what is refused, and what is asked for again."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import ssl
from contextlib import asynccontextmanager

import aiohttp
import pytest
import trustme
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tests.agents.otlp.receiving import HEADERS, body_of, figures_of, in_a_loop, nowhere, post, running

from endpoint_analytics.agents.otlp import listening as listening_module
from endpoint_analytics.agents.otlp.decoding import JSON, PROTOBUF
from endpoint_analytics.agents.otlp.settings import Limits

pytestmark = pytest.mark.outside


@asynccontextmanager
async def receiving(**options):
    """Yield the address of a receiver that cannot reach Kafka."""
    async with running(nowhere(), **options) as receiver:
        yield receiver.url


@in_a_loop
async def test_without_kafka_it_asks_for_the_same_again_and_counts_it_once():
    async with receiving() as url:
        body = body_of(1, 2)
        for _ in range(3):
            status, headers, _ = await post(url, body)
            assert (status, headers["Retry-After"]) == (503, "2")
        figures = await figures_of(url)
        assert figures["spans"]["accepted"] == figures["waiting"] == 2
        assert figures["spans"]["repeated"] == 4


@in_a_loop
async def test_without_kafka_it_keeps_nothing_if_the_exporter_may_go_elsewhere(caplog):
    async with receiving(unconfirmed="return") as url:
        for number in range(1, 4):
            assert (await post(url, body_of(1, 2)))[0] == 503
            figures = await figures_of(url)
            assert (figures["waiting"], figures["replicas"], figures["returned"]) == (0, 0, 2 * number)
        assert figures["spans"] == {"accepted": 6, "repeated": 0, "ignored": 0, "sampled": 0}
    assert "2 requests are left to their exporters, to be sent again" in caplog.text


@pytest.mark.parametrize(("unconfirmed", "waiting"), [("keep", 2), ("return", 0)])
@in_a_loop
async def test_an_exporter_that_hangs_up(unconfirmed, waiting):
    async with receiving(unconfirmed=unconfirmed, limits=Limits(answer_s=3_600.0)) as url:
        sending = asyncio.create_task(post(url, body_of(1, 2)))
        while (await figures_of(url))["waiting"] != 2:
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait({sending})
        async with asyncio.timeout(30):
            while (await figures_of(url))["waiting"] != waiting:
                await asyncio.sleep(0)


@in_a_loop
async def test_a_full_queue_asks_to_come_later_and_takes_nothing():
    async with receiving(max_waiting=2, sends=False) as url:
        assert (await post(url, body_of(1, 2)))[0] == 503
        status, headers, _ = await post(url, body_of(3))
        assert (status, headers["Retry-After"]) == (429, "2")
        assert (await figures_of(url))["spans"]["accepted"] == 2


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
    async with receiving(limits=Limits(held_bytes=1_000)) as url:
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
    monkeypatch.setattr(listening_module, "MAX_CONNECTIONS", 2)
    async with receiving() as url:
        port = int(url.rpartition(":")[2])
        open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await until_refused(port)
        for _, writer in open_ones:
            writer.close()
        async with asyncio.timeout(30):
            while (await post_once(url)) != 200:
                await asyncio.sleep(0)


@pytest.mark.parametrize("head", [b"", b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nA: "])
@in_a_loop
async def test_a_connection_that_brings_no_whole_head_is_closed_and_others_are_not(monkeypatch, head):
    monkeypatch.setattr(listening_module, "HEAD_WITHIN_S", 0.2)
    async with receiving() as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        assert await ask_for_status(reader, writer) == b"HTTP/1.1 200 OK\r\n"
        await until_closed(url, head)  # it came later than the other connection
        assert await ask_for_status(reader, writer) == b"HTTP/1.1 200 OK\r\n"
        writer.close()


async def ask_for_status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Return the first line of the answer."""
    writer.write(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
    first, length = await reader.readline(), 0
    while (line := await reader.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    await reader.readexactly(length)
    return first


async def until_closed(url: str, head: bytes) -> None:
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(head)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


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
