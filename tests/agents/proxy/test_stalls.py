"""Stalled bodies are given up, in both directions; slow ones are not."""

from __future__ import annotations

import time

import pytest
from tests.agents.proxy.running import LOOPS, run_proxy
from tests.agents.proxy.scripted import connect, is_probe, scripted
from tests.support.waiting import eventually

pytestmark = pytest.mark.parametrize("loop", list(LOOPS))

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def reads_to_the_end(side, number):
    """A server that answers once it has the whole body; the proxy may give up before."""
    if is_probe(side):
        return
    side.read_head()
    while len(side.unread) < 10:
        piece = side.socket.recv(100)
        if not piece:
            return
        side.unread += piece
    side.send(OK)


def test_an_upload_that_stalls(make_config, loop):
    with (
        scripted(reads_to_the_end) as server,
        run_proxy(make_config(), server.port, loop, body_timeout_s=0.3) as running,
    ):
        client = connect(running.port)
        client.send(POST + b"half")
        answer = client.read_all()
        client.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"no body data from the client for 0.3 s" in answer
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"408": 1}}


def test_an_upload_that_is_slow(make_config, loop):
    with (
        scripted(reads_to_the_end) as server,
        run_proxy(make_config(), server.port, loop, body_timeout_s=5.0) as running,
    ):
        client = connect(running.port)
        client.send(POST)
        for _ in range(10):
            time.sleep(0.6)  # each well within the time, all of them beyond it
            client.send(b"x")
        assert client.read_head().startswith(b"HTTP/1.1 200 ")
        client.close()
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


def test_an_answer_that_stalls(make_config, loop):
    def play(side, number):
        if is_probe(side):
            return
        side.read_head()
        side.send(STREAM + b"5\r\nfirst\r\n")
        assert side.read_all() == b""  # until the proxy gives up

    with (
        scripted(play) as server,
        run_proxy(make_config(), server.port, loop, response_timeout_s=0.3) as running,
    ):
        client = connect(running.port)
        client.send(GET)
        assert client.read_all().endswith(b"5\r\nfirst\r\n")
        client.close()
    assert running.totals == {"arrived": 1, "aborted_streaming": 1, "status": {"200": 1}}


def test_a_stream_that_is_slow_and_a_head_that_was_long_awaited(make_config, loop):
    def play(side, number):
        if is_probe(side):
            return
        side.read_head()
        time.sleep(1.5)
        side.send(STREAM)
        for _ in range(8):
            time.sleep(0.6)
            side.send(b"1\r\nx\r\n")
        side.send(b"0\r\n\r\n")

    with (
        scripted(play) as server,
        run_proxy(make_config(), server.port, loop, response_timeout_s=3.0) as running,
    ):
        client = connect(running.port)
        client.send(GET)
        assert client.read_until(b"0\r\n\r\n").count(b"1\r\nx\r\n") == 8
        client.close()
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


def test_a_client_that_does_not_read(make_config, loop):
    def play(side, number):
        if is_probe(side):
            return
        side.read_head()
        side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        side.socket.settimeout(60)
        try:
            side.send(bytes(50_000_000))
        except ConnectionError:
            return
        raise AssertionError("all of it went through")

    with (
        scripted(play) as server,
        run_proxy(make_config(), server.port, loop, response_timeout_s=0.5) as running,
    ):
        client = connect(running.port)
        client.send(GET)
        eventually(lambda: running.totals.get("aborted_streaming", 0), bool, 30, "the cut")
        client.close()
    assert running.totals == {"arrived": 1, "aborted_streaming": 1, "status": {"200": 1}}


def test_a_tunnel_may_rest(make_config, loop):
    def play(side, number):
        if is_probe(side):
            return
        side.read_head()
        side.send(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
        assert side.read_until(b"late") == b"late"
        side.send(b"heard")

    with (
        scripted(play) as server,
        run_proxy(make_config(), server.port, loop, response_timeout_s=0.2, body_timeout_s=0.2) as running,
    ):
        client = connect(running.port)
        client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        client.read_head()
        time.sleep(1.0)
        client.send(b"late")
        assert client.read_until(b"heard") == b"heard"
        client.close()
    assert running.totals == {"status": {"101": 1}}


def test_what_a_client_sends_before_the_101_is_the_tunnels(make_config, loop):
    """RFC 6455 forbids this to websocket clients; other protocols and impatient clients do it."""

    def play(side, number):
        if is_probe(side):
            return
        side.read_head()
        time.sleep(0.2)
        side.send(b"HTTP/1.1 101 Switching\r\nUpgrade: mine\r\nConnection: upgrade\r\n\r\n")
        assert side.read_until(b"late") == b"with the head, early" + b"x" * 200_000 + b", late"
        side.send(b"heard")

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: mine\r\n\r\nwith the head")
        time.sleep(0.05)
        client.send(b", early" + b"x" * 200_000)
        client.read_head()
        client.send(b", late")
        assert client.read_until(b"heard") == b"heard"
        client.close()
    assert running.totals == {"status": {"101": 1}}
