"""Requests through a proxy to a server played by the test: what each side gets, and what is counted."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from tests.agents.behaviours import reset
from tests.agents.proxy.running import LOOPS, run_proxy, totals_of
from tests.agents.proxy.scripted import connect, is_probe, scripted, serve
from tests.support.waiting import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"

pytestmark = pytest.mark.parametrize("loop", list(LOOPS))


def test_heads_pass_as_they_are_but_for_what_is_hop_by_hop(make_config, loop):
    seen = []

    def play(side, number):
        if is_probe(side):
            return
        seen.append(side.read_head())
        side.send(
            b"HTTP/1.1 418 I'm a teapot\r\nX-Answer: 1\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n"
            b"Keep-Alive: timeout=5\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
        )

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(
            b"GET /a%20b?c HTTP/1.1\r\nHost: model.example\r\nX-Request-ID: r1\r\ntraceparent: 00-1-2-01\r\n"
            b"Connection: x-mine\r\nX-Mine: 1\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\n"
        )
        assert client.read_head() == (
            b"HTTP/1.1 418 I'm a teapot\r\nX-Answer: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        client.close()
    (head,) = seen
    assert head == (
        b"GET /a%20b?c HTTP/1.1\r\nHost: model.example\r\nX-Request-ID: r1\r\ntraceparent: 00-1-2-01\r\n"
        b"X-Forwarded-For: 9.9.9.9, 127.0.0.1\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: model.example\r\n\r\n"
    )
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"418": 1}}


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("set", {b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Proto: http", b"X-Forwarded-Host: a"}),
        ("keep", {b"x-forwarded-for: 9.9.9.9"}),
    ],
)
def test_forwarded_lines_as_they_are_wanted(make_config, loop, forwarded, expected):
    seen = []

    def play(side, number):
        if not is_probe(side):
            seen.append(side.read_head())
            side.send(OK)

    with (
        scripted(play) as server,
        run_proxy(make_config(), server.port, loop, forwarded=forwarded) as running,
    ):
        client = connect(running.port)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
        client.read_until(b"hello")
        client.close()
    assert {line for line in seen[0].split(b"\r\n") if line.lower().startswith(b"x-forw")} == expected


def test_an_event_passes_when_it_was_sent(make_config, loop):
    go_on = threading.Semaphore(0)

    def play(side, number):
        if is_probe(side):
            return
        side.read_head()
        side.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            assert go_on.acquire(timeout=30)
            side.send(b"b\r\ndata: one\n\n\r\n")
        side.send(b"0\r\nX-Trailer: t\r\n\r\n")

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(GET)
        assert b"text/event-stream" in client.read_head()
        eventually(
            lambda: running.totals.get("status"), lambda s: s == {"200": 1}, 30, "the status, before the end"
        )
        for _ in range(3):
            go_on.release()
            assert client.read_until(b"\n\n\r\n") == b"b\r\ndata: one\n\n\r\n"  # nothing is kept back
        assert client.read_until(b"t\r\n\r\n") == b"0\r\nX-Trailer: t\r\n\r\n"
        client.close()
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


def test_a_response_that_ends_with_its_connection(make_config, loop):
    with (
        scripted(serve(b"HTTP/1.1 200 OK\r\n\r\nas long as it lasts")) as server,
        run_proxy(make_config(), server.port, loop) as running,
    ):
        client = connect(running.port)
        client.send(GET)
        assert client.read_all() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nas long as it lasts"
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 204 x\r\n\r\n"]
)
def test_a_status_without_a_body_keeps_the_connection(make_config, loop, answer):
    with (
        scripted(serve(answer, answer)) as server,
        run_proxy(make_config(), server.port, loop) as running,
    ):
        client = connect(running.port)
        for _ in range(2):
            client.send(GET)
            assert client.read_head() == answer
        client.close()
    assert running.totals["finished"] == 2


def test_head_has_no_body(make_config, loop):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    with scripted(serve(head, OK)) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        assert client.read_head() == head
        assert client.read_until(b"hello") == OK
        client.close()
    assert running.totals == {"arrived": 2, "finished": 2, "status": {"200": 2}}


def test_interim_responses_pass_and_are_no_end(make_config, loop):
    def play(side, number):
        if is_probe(side):
            return
        assert b"Expect: 100-continue" in side.read_head()
        side.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert side.read_until(b"hello") == b"hello"
        side.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.read_head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hello")
        assert client.read_head() == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        assert client.read_until(b"hello") == OK
        client.close()
    assert running.totals == {
        "arrived": 1,
        "finished": 1,
        "status": {"103": 1, "200": 1},
    }  # no other way sees a 100


def test_a_websocket_is_a_tunnel_and_no_request(make_config, loop):
    def play(side, number):
        if is_probe(side):
            return
        head = side.read_head()
        assert b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" in head
        side.send(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nfirst")
        assert side.read_until(b"ping") == b"ping"
        side.send(b"pong" * 1_000_000)
        assert side.read_until(b"bye") == b"bye"

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert b"101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" in client.read_head()
        assert client.read_until(b"first") == b"first"
        client.send(b"ping")
        for _ in range(1_000):
            client.read_until(b"pong" * 1_000)
        client.send(b"bye")
        assert client.read_all() == b""
    assert running.totals == {"status": {"101": 1}}


def test_a_websocket_that_is_refused_is_a_request(make_config, loop):
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    with scripted(serve(answer)) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert client.read_head() == answer
        client.close()
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"403": 1}}


def test_a_pipeline_is_answered_in_order(make_config, loop):
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number for number in range(8)]
    with scripted(serve(*answers)) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(GET * 8)
        for answer in answers:
            assert client.read_head() + client.read_until(answer[-1:]) == answer
        client.close()
    assert running.totals == {"arrived": 8, "finished": 8, "status": {"200": 8}}


def test_a_connection_to_the_server_is_used_again(make_config, loop):
    with scripted(serve(*[OK] * 20)) as server, run_proxy(make_config(), server.port, loop) as running:
        eventually(lambda: server.accepted, lambda n: n == 1, 30, "the probe")
        for _ in range(20):
            client = connect(running.port)
            client.send(GET)
            assert client.read_until(b"hello") == OK
            client.close()
    assert server.accepted == 2
    assert running.totals["finished"] == 20


def test_a_connection_that_the_server_has_closed_is_not_used(make_config, loop):
    """The server closes each connection after one response, without announcing it."""
    with scripted(serve(OK)) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        for _ in range(50):
            client.send(POST)
            assert client.read_until(b"hello") == OK
            time.sleep(0.01)  # the close arrives; the proxy's loop may not have seen it
        client.close()
    assert running.totals == {"arrived": 50, "finished": 50, "status": {"200": 50}}


def close_at_the_second_request(side, number):
    if is_probe(side):
        return
    side.read_head()
    side.send(OK)
    side.read_head()  # and closes without an answer, as after an idle time that just ran out


def test_a_request_that_met_a_closing_connection_is_sent_again_if_that_is_safe(make_config, loop):
    with (
        scripted(close_at_the_second_request) as server,
        run_proxy(make_config(), server.port, loop) as running,
    ):
        client = connect(running.port)
        for _ in range(3):
            client.send(GET)
            assert client.read_until(b"hello") == OK
        client.send(POST)
        assert b" 502 " in client.read_head()
        client.close()
    assert running.totals == {"arrived": 4, "finished": 4, "status": {"200": 3, "502": 1}}


def test_a_first_request_is_not_sent_twice(make_config, loop):
    heads = []

    def play(side, number):
        if not is_probe(side):
            heads.append(side.read_head())

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(GET)
        assert b" 502 " in client.read_head()
        client.close()
    assert len(heads) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000,
        b"HTTP/1.1 200 OK\r\n",
        b"",
    ],
    ids=lambda answer: repr(answer[:30]),
)
def test_an_answer_that_is_invalid_is_502(make_config, loop, answer):
    with scripted(serve(answer)) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(GET)
        assert b" 502 " in client.read_head()
        client.close()
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"502": 1}}


def test_a_server_that_is_not_there_yet_is_502(make_config, loop):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with run_proxy(make_config(), port, loop) as running:
        client = connect(running.port)
        client.send(GET)
        assert b"HTTP/1.1 502 Bad Gateway\r\n" in client.read_head()
        client.read_until(b"reached\n")
        client.send(GET)  # the connection stays open
        assert b"HTTP/1.1 502 Bad Gateway\r\n" in client.read_head()
        assert running.agent.snapshot().state == "initializing"
        with socket.create_server(("127.0.0.1", port)):
            eventually(lambda: running.agent.snapshot().state, lambda s: s == "running", 30, "the state")
        client.close()
    assert running.totals == {"arrived": 2, "finished": 2, "status": {"502": 2}}


def test_a_server_that_dies_has_failed_until_it_is_back(make_config, loop):
    def state():
        return running.agent.snapshot().state

    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with run_proxy(make_config(), port, loop) as running:
            eventually(state, lambda found: found == "running", 30, "the state")
            first.close()
            client = connect(running.port)
            client.send(POST)
            assert b"HTTP/1.1 502 Bad Gateway\r\n" in client.read_head()
            assert state() == "failed"
            with socket.create_server(("127.0.0.1", port)):
                eventually(state, lambda found: found == "running", 30, "the state")
            client.close()
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"502": 1}}


def test_a_slow_server_is_504(make_config, loop):
    def play(side, number):
        if not is_probe(side):
            side.read_all()

    with (
        scripted(play) as server,
        run_proxy(make_config(), server.port, loop, response_timeout_s=0.4) as running,
    ):
        client = connect(running.port)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        time.sleep(0.8)  # a slow client is not the server's fault
        client.send(b"lo")
        assert b"HTTP/1.1 504 Gateway Timeout\r\n" in client.read_head()
        client.read_until(b"\n")
        client.send(GET)
        assert b" 504 " in client.read_head()
        client.close()
    assert running.totals == {"arrived": 2, "finished": 2, "status": {"504": 2}}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nthe first part",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n4\r\npart",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npartx\r\n0\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_seen_to_be_incomplete(make_config, loop, answer):
    def play(side, number):
        if not is_probe(side):
            side.read_head()
            side.send(answer[:-12])
            eventually(lambda: running.totals.get("status"), bool, 30, "the status")
            side.send(answer[-12:])

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(GET)
        found = client.read_all()
        assert found
        assert not found.endswith(b"0\r\n\r\n")
    assert running.totals == {"arrived": 1, "aborted_streaming": 1, "status": {"200": 1}}


@pytest.mark.parametrize("begun", [False, True])
def test_a_client_that_hangs_up_is_reported_to_the_server_at_once(make_config, loop, begun):
    gone = threading.Event()

    def play(side, number):
        if is_probe(side):
            return
        side.read_head()
        if begun:
            side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\npart")
        side.read_all()
        gone.set()

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(GET)
        if begun:
            client.read_until(b"part")
        else:
            eventually(lambda: running.agent.snapshot().active, bool, 30, "the request")
        client.close()
        assert gone.wait(30)
    stage = "aborted_streaming" if begun else "aborted_pending"
    assert running.totals == {"arrived": 1, stage: 1} | ({"status": {"200": 1}} if begun else {})


@pytest.mark.parametrize("hang_up", [reset, socket.socket.close])
@pytest.mark.parametrize("begun", [False, True])
def test_an_answer_does_not_overtake_a_hang_up(make_config, loop, begun, hang_up):
    """Both are pending while the event loop is blocked; which of the two it sees first must not matter."""
    asked, answer, answered = threading.Event(), threading.Event(), threading.Event()

    def play(side, number):
        if is_probe(side):
            return
        side.read_head()
        if begun:
            side.send(OK[:-3])
        asked.set()
        assert answer.wait(30)
        side.send(OK[-3:] if begun else OK)
        answered.set()
        side.read_all()

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(GET)
        assert asked.wait(30)
        if begun:
            client.read_until(b"he")
        busy, freed = threading.Event(), threading.Event()
        running.loop.call_soon_threadsafe(lambda: (busy.set(), freed.wait(30)))
        assert busy.wait(30)
        answer.set()
        assert answered.wait(30)
        hang_up(client.socket)
        freed.set()
        eventually(lambda: running.agent.snapshot().active, lambda active: active == 0, 30, "the end")
    if begun:
        assert running.totals == {"arrived": 1, "aborted_streaming": 1, "status": {"200": 1}}
    else:
        assert running.totals == {"arrived": 1, "aborted_pending": 1}


def test_a_client_that_hangs_up_while_the_server_reads_nothing(make_config, loop):
    go_on = threading.Event()

    def play(side, number):
        if not is_probe(side):
            side.read_head()
            assert go_on.wait(60)

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        client.socket.settimeout(1)
        with pytest.raises(TimeoutError):  # back-pressure: unread data stops the sender
            client.send(bytes(100_000_000))
        reset(client.socket)
        eventually(
            lambda: running.totals, lambda t: t == {"arrived": 1, "aborted_pending": 1}, 30, "the abort"
        )
        go_on.set()


def test_a_client_that_reads_nothing_holds_up_the_server(make_config, loop):
    sent = []

    def play(side, number):
        if is_probe(side):
            return
        side.read_head()
        side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        side.socket.settimeout(1)
        for _ in range(2_000):
            try:
                side.send(bytes(100_000))
            except TimeoutError:
                break
            sent.append(100_000)
        side.socket.settimeout(30)

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(GET)
        client.read_head()
        eventually(lambda: server.accepted == 2 and len(sent), lambda n: n > 0, 30, "the first pieces")
        time.sleep(2)
        client.close()
    assert sum(sent) < 50_000_000
    assert running.totals == {"arrived": 1, "aborted_streaming": 1, "status": {"200": 1}}


def test_an_answer_before_the_upload_has_ended(make_config, loop):
    answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
    with scripted(serve(answer)) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n")
        assert client.read_head() == answer
        client.send(bytes(300_000) + GET)  # the rest is discarded, and the connection stays open
        assert client.read_head() == answer
        client.close()
    assert running.totals == {"arrived": 2, "finished": 2, "status": {"413": 2}}


def test_a_large_upload_arrives_as_it_was_sent(make_config, loop):
    body = bytes(range(256)) * 40_000

    def play(side, number):
        if is_probe(side):
            return
        side.read_head()
        received = side.unread
        while len(received) < len(body):
            received += side.socket.recv(50_000)
        assert received == body
        side.send(OK)

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert client.read_until(b"hello") == OK
        client.close()
    assert running.totals["finished"] == 1


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
        (b"GET /" + b"a" * 70_000, 414),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
    ],
    ids=lambda value: repr(value[:60])[-30:] if isinstance(value, bytes) else str(value),
)
def test_what_is_malformed_is_refused_counted_and_goes_no_further(make_config, loop, request_bytes, status):
    def play(side, number):
        assert is_probe(side)

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(request_bytes)
        answer = client.read_all()
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1") == 1
    assert running.totals == {"arrived": 1, "finished": 1, "status": {str(status): 1}}


def test_chunks_that_turn_out_malformed(make_config, loop):
    def play(side, number):
        if not is_probe(side):
            assert b"smuggled" not in side.read_all()

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        eventually(lambda: running.agent.snapshot().active, bool, 30, "the request")
        client.send(b"0\n\nGET /smuggled HTTP/1.1\r\n\r\n")
        assert client.read_head().startswith(b"HTTP/1.1 400 ")
        client.close()
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"400": 1}}


def test_a_head_that_takes_too_long_is_408(make_config, loop):
    with (
        scripted(serve()) as server,
        run_proxy(make_config(), server.port, loop, head_timeout_s=0.3) as running,
    ):
        client = connect(running.port)
        client.send(b"GET / HTTP/1.1\r\n")
        assert client.read_all().startswith(b"HTTP/1.1 408 ")
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"408": 1}}


def test_an_idle_client_is_let_go(make_config, loop):
    with (
        scripted(serve()) as server,
        run_proxy(make_config(), server.port, loop, idle_timeout_s=0.3) as running,
    ):
        assert connect(running.port).read_all() == b""
    assert running.totals == {}


def test_http_1_0_is_answered_and_closed(make_config, loop):
    def play(side, number):
        if not is_probe(side):
            assert side.read_head().startswith(b"GET / HTTP/1.0\r\n")
            side.send(b"HTTP/1.0 200 OK\r\n\r\nhello")

    with scripted(play) as server, run_proxy(make_config(), server.port, loop) as running:
        client = connect(running.port)
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.read_all() == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


def test_a_stop_lets_requests_end(make_config, loop):
    go_on = threading.Event()

    def play(side, number):
        if not is_probe(side):
            side.read_head()
            assert go_on.wait(30)
            side.send(OK)

    with scripted(play) as server:
        with run_proxy(make_config(), server.port, loop, drain_s=30.0) as running:
            idle, client = connect(running.port), connect(running.port)
            client.send(GET)
            eventually(lambda: running.agent.snapshot().active, bool, 30, "the request")
            threading.Timer(0.3, go_on.set).start()
        assert client.read_all() == OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        assert idle.read_all() == b""
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


def test_requests_that_are_held_count_as_unassigned(make_config, loop):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    held_config = make_config(replica_id="unassigned")
    with run_proxy(make_config(), port, loop, hold_config=held_config, hold_s=30.0) as running:
        clients = [connect(running.port) for _ in range(5)]
        for client in clients:
            client.send(POST)
        eventually(lambda: running.unassigned.snapshot().active, lambda n: n == 5, 30, "the held requests")
        clients.pop().close()
        listener = socket.create_server(("127.0.0.1", port))

        def serve_now():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                if connection.recv(65_536):
                    connection.sendall(OK)
                connection.close()

        serving = threading.Thread(target=serve_now)
        serving.start()
        for client in clients:
            assert client.read_until(b"hello") == OK
        clients[0].send(GET)
        assert clients[0].read_until(b"hello") == OK
        for client in clients:
            client.close()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        serving.join(30)
    assert totals_of(running.unassigned) == {
        "arrived": 5, "finished": 4, "aborted_pending": 1, "status": {"200": 4}
    }  # fmt: skip
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


def test_a_held_request_does_not_wait_for_ever(make_config, loop):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    held_config = make_config(replica_id="unassigned")
    with run_proxy(make_config(), port, loop, hold_config=held_config, hold_s=0.3) as running:
        client = connect(running.port)
        client.send(GET)
        assert client.read_head().startswith(b"HTTP/1.1 502 ")
        client.close()
    assert totals_of(running.unassigned) == {"arrived": 1, "finished": 1, "status": {"502": 1}}
    assert running.totals == {}


def test_excluded_paths_pass_and_are_not_recorded(make_config, loop):
    config = make_config(exclude_paths=("/health", "/ws"))
    with scripted(serve(*[OK] * 7)) as server, run_proxy(config, server.port, loop) as running:
        client = connect(running.port)
        for target in (b"/health", b"/", b"/health?full", b"/he%61lth", b"http://a/health", b"/health/x"):
            client.send(GET.replace(b" / ", b" " + target + b" "))
            assert client.read_until(b"hello") == OK
        client.close()
        upgrading = connect(running.port)
        upgrading.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert upgrading.read_until(b"hello") == OK
        upgrading.close()
    assert running.totals == {"arrived": 2, "finished": 2, "status": {"200": 2}}


def test_an_excluded_path_is_not_recorded_while_no_server_is_there(make_config, loop):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    config, held_config = make_config(exclude_paths=("/",)), make_config(replica_id="unassigned")
    with run_proxy(config, port, loop, hold_config=held_config, hold_s=0.3) as running:
        client = connect(running.port)
        client.send(GET)
        assert client.read_head().startswith(b"HTTP/1.1 502 ")
        client.close()
    assert totals_of(running.unassigned) == running.totals == {}
