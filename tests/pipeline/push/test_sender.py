"""A message gets to a real HTTP server: again and unchanged if it asks for that, and never where it does not belong."""

from __future__ import annotations

import asyncio
import functools
import gzip
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.pipeline.exposition.families import Sample, family_of
from endpoint_analytics.pipeline.push.otlp_metrics import export_requests
from endpoint_analytics.pipeline.push.sender import Sender
from endpoint_analytics.schemas import metrics as names

pytestmark = pytest.mark.outside

LLM = (("endpoint_namespace", "acme"), ("endpoint_name", "llm"))
(MESSAGE,) = export_requests([family_of(names.RUNNING_REPLICAS, [Sample("", LLM, 2)])], 1_790_000_000.0, 10)


def in_a_loop(test):
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(*arguments, **named):
        asyncio.run(test(*arguments, **named))

    return run


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.now_s += wait_s


@asynccontextmanager
async def receiver(*answers: web.Response | bytes | None):
    """Yield a receiver's URL and the requests that it got.

    Bytes are sent as they are, and end the connection; None ends it without an answer.
    """
    left, got = list(answers), []

    async def receive(request: web.Request) -> web.Response:
        got.append((request.path, dict(request.headers), await request.read()))
        answer = left.pop(0) if left else web.Response()
        if answer is None or isinstance(answer, bytes):
            request.transport.write(answer or b"")
            request.transport.close()
            return web.Response()
        return answer

    application = web.Application()
    application.router.add_post("/{path:.*}", receive)
    runner = web.AppRunner(application, access_log=None, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1/metrics", got
    finally:
        await runner.cleanup()


@in_a_loop
async def test_it_arrives_with_its_headers():
    async with receiver() as (url, got), Sender(url, {"Authorization": "Bearer s"}, None, Clock()) as sender:
        assert await sender.send(MESSAGE, 10)
    ((path, headers, body),) = got
    assert (path, headers["Authorization"], headers["Content-Encoding"]) == (
        "/v1/metrics",
        "Bearer s",
        "gzip",
    )
    assert gzip.decompress(body) == MESSAGE.SerializeToString()
    assert sender.counts.messages == {"accepted": 1}


@pytest.mark.parametrize("status", [200, 202, 204])
@in_a_loop
async def test_every_2xx_accepts_it(status):
    async with receiver(web.Response(status=status)) as (url, _), Sender(url, {}, None, Clock()) as sender:
        assert await sender.send(MESSAGE, 10)
    assert sender.counts.messages == {"accepted": 1}


@in_a_loop
async def test_the_same_bytes_again_while_it_asks_for_that():
    clock = Clock()
    answers = [
        web.Response(status=503, headers={"Retry-After": "7"}),
        None,
        web.Response(status=429),
        web.Response(status=502),
        web.Response(status=504),
    ]
    async with receiver(*answers) as (url, got), Sender(url, {}, None, clock, clock.sleep) as sender:
        assert await sender.send(MESSAGE, 1_000)
    # aiohttp's client itself repeats no POST.
    assert len(got) == 6
    assert len({body for _, _, body in got}) == 1
    assert clock.slept[0] >= 7
    assert all(wait_s > 0 for wait_s in clock.slept)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 301, 307])
@in_a_loop
async def test_everything_else_is_final(status, caplog):
    """Not even a redirect is followed: the headers are for this receiver alone."""
    clock = Clock()
    answer = web.Response(status=status, headers={"Location": "/elsewhere"}, text="s3cret")
    async with (
        receiver(answer) as (url, got),
        Sender(url, {"Authorization": "s3cret"}, None, clock, clock.sleep) as sender,
    ):
        assert not await sender.send(MESSAGE, 1_000)
    assert (len(got), sender.counts.messages) == (1, {"refused": 1})
    assert f"status {status}" in caplog.text
    assert "s3cret" not in caplog.text


@in_a_loop
async def test_it_gives_up_in_time_and_says_so_once(caplog):
    clock = Clock()
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}/v1/metrics"
    async with Sender(url, {}, None, clock, clock.sleep) as sender:
        for until_s in (15, 30):
            assert not await sender.send(MESSAGE, until_s)
            assert clock.now_s < until_s
    assert sender.counts.messages == {"given_up": 2}
    assert sender.counts.tries > 4
    assert caplog.text.count("does not accept metrics") == 1


@in_a_loop
async def test_a_partial_success_is_counted_and_logged_once(caplog):
    partial = ExportMetricsServiceResponse(
        partial_success=ExportMetricsPartialSuccess(rejected_data_points=2, error_message="too old")
    ).SerializeToString()
    answers = [web.Response(body=partial), web.Response(body=partial), web.Response(body=b"\xff")]
    async with receiver(*answers) as (url, _), Sender(url, {}, None, Clock()) as sender:
        for _ in answers:
            assert await sender.send(MESSAGE, 10)
    assert sender.counts.rejected_points == 4
    assert caplog.text.count("rejects some data points") == 1
    assert "too old" not in caplog.text


@in_a_loop
async def test_a_partial_success_that_comes_in_pieces_is_counted():
    partial = ExportMetricsServiceResponse(
        partial_success=ExportMetricsPartialSuccess(rejected_data_points=2, error_message="too old")
    ).SerializeToString()

    async def in_pieces():
        for at in range(len(partial)):
            yield partial[at : at + 1]

    async with (
        receiver(web.Response(body=in_pieces())) as (url, _),
        Sender(url, {}, None, Clock()) as sender,
    ):
        assert await sender.send(MESSAGE, 10)
    assert sender.counts.rejected_points == 2


@in_a_loop
async def test_what_was_accepted_stays_so_if_the_rest_of_the_answer_is_lost():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n\x0a"
    async with receiver(answer) as (url, got), Sender(url, {}, None, Clock()) as sender:
        assert await sender.send(MESSAGE, 10)
    assert (len(got), sender.counts.messages) == (1, {"accepted": 1})


@pytest.mark.parametrize("answer", [b"s3cret, not HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\ns3cret header\r\n\r\n"])
@in_a_loop
async def test_an_answer_that_is_not_http_reveals_neither_itself_nor_the_query(answer, caplog):
    clock = Clock()
    async with (
        receiver(*[answer] * 20) as (url, _),
        Sender(f"{url}?token=%7Es3cret", {}, None, clock, clock.sleep) as sender,
    ):
        assert not await sender.send(MESSAGE, 15)
    assert "its answer is not HTTP" in caplog.text
    assert "4317" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "--headers-file"), (404, "the path of --endpoint"), (308, "set --endpoint to the URL")],
)
@in_a_loop
async def test_it_says_how_to_fix_it(status, hint, caplog):
    async with receiver(web.Response(status=status)) as (url, _), Sender(url, {}, None, Clock()) as sender:
        assert not await sender.send(MESSAGE, 10)
    assert hint in caplog.text


@in_a_loop
async def test_a_name_that_no_host_can_have_is_no_crash(caplog):
    clock = Clock()
    async with Sender("http://a..b/v1/metrics", {}, None, clock, clock.sleep) as sender:
        assert not await sender.send(MESSAGE, 2)
    assert "the host of --endpoint is not a valid name" in caplog.text


@in_a_loop
async def test_other_messages_wait_for_retry_after_too():
    clock = Clock()
    answer = web.Response(status=429, headers={"Retry-After": "40"})
    async with receiver(answer) as (url, got), Sender(url, {}, None, clock, clock.sleep) as sender:
        assert [await sender.send(MESSAGE, until_s) for until_s in (15, 15, 30, 45)] == [
            False,
            False,
            False,
            True,
        ]
    assert len(got) == 2
    assert clock.now_s >= 40


@in_a_loop
async def test_retry_after_may_be_a_date():
    clock = Clock()
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=41), usegmt=True)
    answer = web.Response(status=503, headers={"Retry-After": at})
    async with receiver(answer) as (url, got), Sender(url, {}, None, clock, clock.sleep) as sender:
        assert await sender.send(MESSAGE, 100)
    assert len(got) == 2
    assert 35 < clock.now_s < 45


@in_a_loop
@pytest.mark.parametrize(
    "said", ["9" * 400, "soon", "-5", "Mon, 30 Feb 2026 00:00:00 GMT", "Fri, 01 Jan 9999 00:00:00 GMT", ""]
)
async def test_an_absurd_retry_after_does_not_end_it(said):
    clock = Clock()
    answer = web.Response(status=503, headers={"Retry-After": said})
    async with receiver(answer) as (url, got), Sender(url, {}, None, clock, clock.sleep) as sender:
        assert await sender.send(MESSAGE, 1_000)
    assert len(got) == 2


@in_a_loop
async def test_each_problem_is_logged_once_with_its_end_when_a_whole_round_is_accepted(caplog):
    caplog.set_level("INFO")
    bad, good = (lambda: web.Response(status=400)), web.Response
    answers = [bad(), good(), bad(), good(), good(), good()]
    async with receiver(*answers) as (url, _), Sender(url, {}, None, Clock()) as sender:
        for _ in range(3):
            await sender.send(MESSAGE, 10)
            await sender.send(MESSAGE, 10)
            sender.end_round()
    assert caplog.text.count("does not accept metrics") == 1
    assert caplog.text.count("accepts metrics again; messages that it did not get: 2") == 1
