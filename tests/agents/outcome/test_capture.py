"""The suite for every capture method that sees bodies: what it reports of each API's streams and answers.

A capture method provides a fixture `captured` and a subclass of `Captures`.
"""

from __future__ import annotations

import http.client
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from tests.agents.behaviours import PATIENCE_S
from tests.agents.collected import Collected, Row, collect
from tests.agents.middleware.test_harmless import uvicorn_of, waitress_of
from tests.agents.outcome.cases import CASES, STREAMS, Case
from tests.agents.outcome.stream_app import asgi, enough, wsgi
from tests.agents.proxy.running import run_proxy
from tests.support.waiting import eventually

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware
from endpoint_analytics.agents.middleware.wsgi import WSGIAnalyticsMiddleware
from endpoint_analytics.schemas.outcomes import Slice, input_class

pytestmark = pytest.mark.outside

ENDLESS = [case.name for case in STREAMS if case.cut()["ended"] == "cut"]
"""Streams of which one knows that they are cut."""


@dataclass
class Captured:
    """Clients connect to `port`; the requests' rows come in `collected`."""

    port: int
    collected: Collected

    def rows(self, number: int) -> dict[str, Row]:
        """Wait for so many rows, and return them by case."""
        return {row.slice.caller: row for row in self.collected.rows(number)}


def post(connection: http.client.HTTPConnection, name: str, how: str) -> None:
    connection.request("POST", CASES[name].path, b"{}", {"X-Case": name, "X-How": how})


def read_all(port: int, how: str, names: Iterable[str]) -> None:
    """Request cases one after another on one connection, and check that their bodies come unchanged."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    for name in names:
        case = CASES[name]
        post(connection, name, how)
        response = connection.getresponse()
        pieces = case.pieces if how == "whole" else case.pieces[: case.begun]
        assert (response.status, response.read()) == (case.status, b"".join(pieces))
    connection.close()


def break_off(port: int, case: Case, *, resets: bool) -> None:
    """Request a case on a connection of its own, and end it once the first event with content has come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.connect()
    if resets:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    post(connection, case.name, "linger")
    response = connection.getresponse()
    assert response.read(len(b"".join(case.pieces[: case.begun])))
    connection.close()
    response.close()


class Captures:
    """Each one way for responses to end."""

    def test_whole(self, captured):
        read_all(captured.port, "whole", CASES)
        rows = captured.rows(len(CASES))
        assert {name: row.says(**CASES[name].expected) for name, row in rows.items()} == {
            name: case.expected for name, case in CASES.items()
        }
        assert {name: row.slice for name, row in rows.items()} == {
            name: Slice(
                model=case.model,
                caller=name,
                streamed=case.is_stream,
                input_upto=input_class(case.expected["input_tokens"]),
            )
            for name, case in CASES.items()
        }

    def test_times_are_in_order(self, captured):
        read_all(captured.port, "whole", [case.name for case in STREAMS])
        for name, row in captured.rows(len(STREAMS)).items():
            names = ("first_byte_us", "first_token_us", "last_token_us", "duration_us")
            times = [row[time] for time in names if row[time] is not None]
            assert len(times) >= (4 if CASES[name].expected["events"] else 2), name
            assert times == sorted(times), name
            assert times[0] > 0, name
        gaps = sum(sum(batch.gaps.count) for batch in captured.collected.found)
        assert gaps == sum(max(case.expected["events"] - 1, 0) for case in STREAMS)

    def test_cut_by_the_server(self, captured):
        assert len(ENDLESS) > 15
        read_all(captured.port, "cut", ENDLESS)
        rows = captured.rows(len(ENDLESS))
        expected = {name: CASES[name].cut() for name in ENDLESS}
        assert {name: row.says(**expected[name]) for name, row in rows.items()} == expected

    def test_broken_by_the_server(self, captured):
        names = [name for name in ENDLESS if CASES[name].facts(CASES[name].begun).events]
        for name in names:
            connection = http.client.HTTPConnection("127.0.0.1", captured.port, timeout=PATIENCE_S)
            post(connection, name, "raise")
            with pytest.raises((http.client.HTTPException, ConnectionError)):
                connection.getresponse().read()
            connection.close()
        rows = captured.rows(len(names))
        expected = {name: CASES[name].cut() | {"ended": "aborted"} for name in names}
        assert {name: row.says(**expected[name]) for name, row in rows.items()} == expected

    @pytest.mark.parametrize("resets", [False, True])
    def test_broken_by_the_client(self, captured, resets):
        cases = [CASES[name] for name in ENDLESS if CASES[name].facts(CASES[name].begun).events]
        enough.clear()
        try:
            for case in cases:
                break_off(captured.port, case, resets=resets)
            rows = captured.rows(len(cases))
        finally:
            enough.set()
        assert {row["ended"] for row in rows.values()} == {"aborted"}
        assert rows.keys() == {case.name for case in cases}
        for name, row in rows.items():
            assert row["status"] == 200, name
            assert row["events"] >= 1, name
            assert row["first_token_us"] <= row["last_token_us"] <= row["duration_us"], name

    def test_failed_ones_are_sampled(self, captured):
        failed = [case.name for case in STREAMS if case.expected["ended"] != "complete"]
        assert len(failed) > 5
        read_all(captured.port, "whole", failed)
        samples = eventually(
            lambda: [one for one in captured.collected.samples if one.why == "failed"],
            lambda found: len(found) >= len(failed),
            PATIENCE_S,
            "the samples",
        )
        assert sorted(one.ended for one in samples) == sorted(
            CASES[name].expected["ended"] for name in failed
        )


@pytest.fixture
def config(make_config) -> AgentConfig:
    return make_config(dimensions=("model", "caller"), caller_header="X-Case")


class TestAsgi(Captures):
    @pytest.fixture
    def captured(self, config):
        middleware = AnalyticsMiddleware(asgi, config=config)
        with uvicorn_of(middleware) as port:
            agent = middleware.agent
            yield Captured(port, collect(agent))
        agent.stop()


class TestWsgi(Captures):
    @pytest.fixture
    def captured(self, config):
        middleware = WSGIAnalyticsMiddleware(wsgi, config=config)
        middleware.start()
        agent = middleware.process.agent
        collected = collect(agent)
        with waitress_of(middleware) as port:
            yield Captured(port, collected)
        agent.stop()


class TestProxy(Captures):
    @pytest.fixture
    def captured(self, config):
        with uvicorn_of(asgi) as upstream, run_proxy(config, upstream, "asyncio") as running:
            yield Captured(running.port, collect(running.agent))
