"""A message gets to a real HTTP server: again and unchanged if it asks for that, and never where it does not belong."""

from __future__ import annotations

import asyncio
import functools
import gzip
from contextlib import asynccontextmanager

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
async def receiver(*answers: web.Response | None):
    """Yield a receiver's URL and the requests that it got; None cuts the connection instead of answering."""
    left, got = list(answers), []

    async def receive(request: web.Request) -> web.Response:
        got.append((request.path, dict(request.headers), await request.read()))
        answer = left.pop(0) if left else web.Response()
        if answer is None:
            request.transport.abort()
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
