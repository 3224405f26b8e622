"""What the proxy reports of streams, tokens, names and sizes, however a request ends; never what it forwards."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace

import pytest
from tests.agents.behaviours import reset
from tests.agents.collected import collect
from tests.agents.proxy.running import run_proxy
from tests.agents.proxy.scripted import connect, is_probe, scripted, serve
from tests.support.waiting import eventually

from endpoint_analytics.agents.outcome.stream_reader import StreamReader
from endpoint_analytics.agents.outcome.watch import OutcomeWatcher, Watch
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.identity import UNASSIGNED
from endpoint_analytics.schemas.outcomes import Slice

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET /predict HTTP/1.1\r\nHost: a\r\n\r\n"
EVENTS = (
    b'data: {"object":"chat.completion.chunk","model":"m-1","choices":[{"delta":{"content":"a"}}]}\n\n',
    b'data: {"object":"chat.completion.chunk","model":"m-1","choices":[{"delta":{"content":"b"}}]}\n\n',
    b'data: {"model":"m-1","choices":[],"usage":{"prompt_tokens":300,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
)
SIZE = sum(map(len, EVENTS))
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = SSE + b"Transfer-Encoding: chunked\r\n\r\n"
ANSWER = b'{"object":"chat.completion","model":"m-1","usage":{"prompt_tokens":5,"completion_tokens":7}}'
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(ANSWER),
    ANSWER,
)
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc"


def chunks(*events: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)


def ask(config, answer: bytes, request: bytes = POST, **settings):
    """Return the row of one request whose client reads until the connection closes, and what it read."""
    with scripted(serve(answer)) as server, run_proxy(config, server.port, **settings) as running:
        collected = collect(running.agent)
        client = connect(running.port)
        client.send(request)
        got = client.read_until(answer[-8:])
        row = collected.row()
        client.close()
        return row, got


@pytest.fixture
def everything(make_config):
    return make_config(outcomes="all", dimensions=("route", "model", "caller"), caller_header="X-Customer")


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + chunks(*EVENTS) + b"0\r\nX-Trailer: [DONE]\r\n\r\n",
        SSE + b"Content-Length: %d\r\n\r\n" % SIZE + b"".join(EVENTS),
        SSE + b"\r\n" + b"".join(EVENTS),
    ],
    ids=["chunked", "of known length", "until the connection closes"],
)
def test_a_stream(make_config, answer):
    row, _ = ask(make_config(), answer)
    assert row.slice == Slice(streamed=True, input_upto=512)
    expected = {"ended": "complete", "status": 200, "events": 2, "input_tokens": 300, "output_tokens": 2}
    assert row.says(**expected) == expected
    assert row["response_bytes"] == SIZE
    assert 0 <= row["first_byte_us"] <= row["first_token_us"] <= row["last_token_us"] <= row["duration_us"]


def test_events_are_timed_as_they_pass(make_config):
    go_on = threading.Semaphore(0)

    def play(side, number):
        if is_probe(side):
            return
        side.read_head()
        side.send(CHUNKED)
        for event in EVENTS:
            assert go_on.acquire(timeout=30)
            framed = chunks(event)
            side.send(framed[:9])  # the frame itself is cut
            side.send(framed[9:])
        side.send(b"0\r\n\r\n")

    with scripted(play) as server, run_proxy(make_config(), server.port) as running:
        collected = collect(running.agent)
        client = connect(running.port)
        client.send(POST)
        client.read_head()
        for event in EVENTS:
            assert not client.unread
            go_on.release()
            assert client.read_until(event + b"\r\n") == chunks(event)
        client.read_until(b"0\r\n\r\n")
        client.close()
        row = collected.row()
    assert row["events"] == 2
    assert row["gap_max_us"] == pytest.approx(row["last_token_us"] - row["first_token_us"], abs=2)
    assert row["gap_max_us"] > 0


def test_a_stream_without_its_protocols_end_is_cut(make_config):
    row, _ = ask(make_config(), CHUNKED + chunks(*EVENTS[:2]) + b"0\r\n\r\n")
    assert (row["ended"], row["events"], row["estimated"]) == ("cut", 2, True)


def test_an_error_event_is_an_error(make_config):
    row, _ = ask(
        make_config(), CHUNKED + chunks(EVENTS[0], b'data: {"error":{"code":500}}\n\n') + b"0\r\n\r\n"
    )
    assert (row["ended"], row["status"], row["events"]) == ("error", 200, 1)


def test_an_answer_tells_its_tokens(make_config):
    row, got = ask(make_config(), JSON)
    assert got == JSON
    assert (row["input_tokens"], row["output_tokens"], row["first_token_us"]) == (5, 7, None)
    assert row.slice == Slice(input_upto=128)


def test_what_says_nothing_of_itself_has_no_row_but_identifiers(make_config):
    ids = b"X-Request-ID: r-1\r\nTraceparent: 00-%s-00f067aa0ba902b7-01\r\n\r\n"
    request = b"GET /v1/chat/completions?a HTTP/1.1\r\nHost: a\r\n" + ids
    with scripted(serve(PLAIN)) as server, run_proxy(make_config(), server.port) as running:
        collected = collect(running.agent)
        client = connect(running.port)
        client.send(request % TRACE.encode())
        client.read_until(b"abc")
        client.close()
    assert collected.all_rows == []
    (sample,) = collected.samples
    assert (sample.request_id, sample.trace_id, sample.status) == ("r-1", TRACE, 200)


def test_names_and_sizes_if_asked_for(everything):
    request = (
        b"POST /v1/chat/completions?key=1 HTTP/1.1\r\nHost: a\r\nX-CUSTOMER:  acme\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + chunks(b"abc", b"defg") + b"0\r\n\r\n"
    )
    row, _ = ask(everything, JSON, request)
    assert row.slice == Slice(route="/v1/chat/completions", model="m-1", caller="acme", input_upto=128)
    assert (row["request_bytes"], row["response_bytes"]) == (7, len(ANSWER))


def test_a_path_that_is_not_well_known_is_no_route(everything):
    row, _ = ask(everything, PLAIN, GET)
    assert row.slice == Slice()
    assert (row["request_bytes"], row["response_bytes"]) == (0, 3)


def test_a_server_tells_in_a_header_and_it_is_forwarded(make_config):
    told = b"X-Endpoint-Analytics: input_tokens=812; model=m-2\r\nContent-Length: 3\r\n\r\nabc"
    row, got = ask(make_config(dimensions=("model",)), b"HTTP/1.1 200 OK\r\n" + told, GET)
    assert (row.slice.model, row["input_tokens"]) == ("m-2", 812)
    assert told in got


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_a_response_without_a_body_has_no_bytes(everything, status):
    row, _ = ask(everything, b"HTTP/1.1 %s\r\nContent-Type: text/event-stream\r\n\r\n" % status)
    assert (row["response_bytes"], row["events"], row.slice.streamed) == (0, None, False)


def test_a_head_request_has_no_body_whatever_its_length_says(everything):
    head = POST.replace(b"POST", b"HEAD")
    answer = SSE + b"Content-Length: 99\r\n\r\n"
    row, _ = ask(everything, answer, head)
    assert (row["response_bytes"], row["ended"], row.slice.streamed) == (0, "complete", False)


def test_an_interim_response_is_not_the_response(make_config):
    row, _ = ask(make_config(), b"HTTP/1.1 103 Early Hints\r\nContent-Type: text/event-stream\r\n\r\n" + JSON)
    assert (row["status"], row["input_tokens"], row.slice.streamed) == (200, 5, False)


def test_a_tunnel_is_no_request(everything):
    def play(side, number):
        if not is_probe(side):
            side.read_head()
            side.send(b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            side.send(side.read_until(b"ping"))

    with scripted(play) as server, run_proxy(everything, server.port) as running:
        collected = collect(running.agent)
        client = connect(running.port)
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nping")
        client.read_until(b"ping")
        client.close()
    assert collected.found == []


def test_an_upgrade_that_the_server_refuses_is_a_request(everything):
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Customer: c\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    row, _ = ask(everything, PLAIN, upgrade)
    assert (row.slice.caller, row["response_bytes"], row["status"]) == ("c", 3, 200)


def test_excluded_requests_have_no_details(everything):
    config = replace(everything, exclude_paths=("/predict",))
    with scripted(serve(PLAIN, JSON)) as server, run_proxy(config, server.port) as running:
        collected = collect(running.agent)
        client = connect(running.port)
        client.send(GET)
        client.read_until(b"abc")
        client.send(POST)
        client.read_until(ANSWER)
        client.close()
        assert collected.row()["input_tokens"] == 5


# Ends before the end


def broken(config, end, *, answer: bytes = CHUNKED + chunks(EVENTS[0]), **settings):
    """Return the row of a request that `end(server's side, client's side)` ends, once the client has that much of an
    answer."""
    is_read, is_over = threading.Event(), threading.Event()
    sides = []

    def play(side, number):
        if is_probe(side):
            return
        sides.append(side)
        side.read_until(b"hello")
        if answer:
            side.send(answer)
        assert is_over.wait(30)

    with scripted(play) as server, run_proxy(config, server.port, **settings) as running:
        collected = collect(running.agent)
        client = connect(running.port)
        client.send(POST)
        if answer:
            client.read_until(answer[-8:])
        eventually(lambda: sides, bool, 10, "the request at the server")
        is_read.set()
        try:
            end(sides[0], client)
            row = collected.row()
        finally:
            is_over.set()
        totals = running.agent.snapshot().totals
        assert totals.arrived == 1 == totals.finished + totals.aborted_pending + totals.aborted_streaming
        client.close()
        return row


def server_closes(server, client):
    server.socket.shutdown(socket.SHUT_RDWR)


def client_closes(server, client):
    client.close()


def client_resets(server, client):
    reset(client.socket)


def nobody_moves(server, client):
    pass


def server_sends_nonsense(server, client):
    server.send(b"no chunk\r\n")


@pytest.mark.parametrize("end", [server_closes, client_closes, client_resets, server_sends_nonsense])
def test_a_stream_that_breaks_off_is_aborted_with_what_it_had(make_config, end):
    row = broken(make_config(), end)
    assert (row["ended"], row["events"], row["status"], row["output_tokens"]) == ("aborted", 1, 200, 1)
    assert row["response_bytes"] == len(EVENTS[0])


def test_a_stream_that_stalls_is_aborted_with_what_it_had(make_config):
    row = broken(make_config(), nobody_moves, response_timeout_s=0.3)
    assert (row["ended"], row["events"]) == ("aborted", 1)


@pytest.mark.parametrize(
    ("end", "ended", "status", "settings"),
    [
        (server_closes, "complete", 502, {}),
        (nobody_moves, "complete", 504, {"response_timeout_s": 0.3}),
        (client_closes, "aborted", None, {}),
    ],
)
def test_a_request_without_a_response_keeps_its_names(everything, end, ended, status, settings):
    row = broken(everything, end, answer=b"", **settings)
    assert (row["ended"], row["status"], row["request_bytes"]) == (ended, status, 5)
    assert row.slice == Slice(route="/v1/chat/completions")


def test_a_request_that_is_held_belongs_to_no_replica_and_keeps_its_details(everything):
    port = free_port("127.0.0.1")
    config = replace(everything, replica_id=UNASSIGNED)
    with run_proxy(everything, port, hold_config=config, hold_s=30) as running:
        of_replica, of_nobody = map(collect, running.agents)
        client = connect(running.port)
        client.send(POST.replace(b"Host: a", b"Host: a\r\nX-Customer: held"))
        eventually(lambda: running.agents[1].snapshot().active, bool, 10, "the held request")
        listener = socket.create_server(("127.0.0.1", port))
        try:
            answered = False
            while not answered:
                upstream, _ = listener.accept()
                if upstream.recv(65_536):
                    upstream.sendall(JSON)
                    answered = True
                upstream.close()
        finally:
            listener.close()
        client.read_until(ANSWER)
        client.close()
        row = of_nobody.row()
        assert of_replica.all_rows == []
    assert row.slice == Slice(route="/v1/chat/completions", model="m-1", caller="held", input_upto=128)
    assert row["input_tokens"] == 5


# Bugs


def breaks(*_arguments, **_named):
    raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (StreamReader, "read"),
        (StreamReader, "end"),
        (OutcomeWatcher, "arrived"),
        (OutcomeWatcher, "responded"),
        (OutcomeWatcher, "ended"),
        (Watch, "request_piece"),
    ],
)
def test_a_bug_changes_neither_what_is_forwarded_nor_the_phases(everything, monkeypatch, kind, method):
    monkeypatch.setattr(kind, method, breaks)
    answer = CHUNKED + chunks(*EVENTS) + b"0\r\n\r\n"
    request = POST.replace(b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    with scripted(serve(answer, answer)) as server, run_proxy(everything, server.port) as running:
        client = connect(running.port)
        for _ in range(2):
            client.send(request)
            assert client.read_head() + client.read_until(b"0\r\n\r\n") == answer
        client.close()
    assert running.totals == {"arrived": 2, "finished": 2, "status": {"200": 2}}


def test_if_outcomes_are_off_nothing_is_watched(make_config):
    with (
        scripted(serve(JSON)) as server,
        run_proxy(make_config(outcomes="off"), server.port) as running,
    ):
        client = connect(running.port)
        client.send(POST)
        assert client.read_until(ANSWER) == JSON
        client.close()
        assert running.proxy.watcher is None
    assert running.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}
