"""One GET on a real server: bounded in time and size, without redirects; each failure is a ScrapeError."""

from __future__ import annotations

import gzip
import socket
import threading
from dataclasses import replace

import pytest
from tests.agents.scrape.engine_server import EngineServer, reply

from endpoint_analytics.agents.scrape.fetch import ScrapeError, fetch
from endpoint_analytics.agents.scrape.settings import parse_target

LIMIT = 10_000


@pytest.fixture
def engine():
    with EngineServer("a 1\n") as server:
        yield server


def ask(engine: EngineServer, within_s: float = 5.0) -> str:
    return fetch(parse_target(engine.url), within_s, LIMIT)


def test_an_answer_packed_or_not(engine):
    assert ask(engine) == "a 1\n"
    engine.answer = lambda handler: reply(handler, 200, b"a 2\n")
    assert ask(engine) == "a 2\n"
    (path, headers), _ = engine.requests
    assert (path, headers["Accept-Encoding"]) == ("/metrics", "gzip")
    assert headers["Accept"].startswith("text/plain;version=0.0.4")


def test_a_token_is_a_bearers(engine):
    assert fetch(replace(parse_target(engine.url), token="s3cret"), 5.0, LIMIT) == "a 1\n"
    assert engine.requests[0][1]["Authorization"] == "Bearer s3cret"
    ask(engine)
    assert "Authorization" not in engine.requests[1][1]


def test_what_is_no_utf8_spoils_nothing(engine):
    engine.answer = lambda handler: reply(handler, 200, b'a{b="\xff"} 1\n')
    assert ask(engine) == 'a{b="\ufffd"} 1\n'


def test_an_answer_of_no_end_in_pieces(engine):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b"a 1\n" * 100)

    engine.answer = answer
    assert ask(engine) == "a 1\n" * 100


@pytest.mark.parametrize("status", [204, 301, 307, 401, 404, 500, 503])
def test_another_status_is_no_answer_and_no_redirect_is_followed(engine, status):
    engine.answer = lambda handler: reply(handler, status, b"", Location=engine.url + "/there")
    with pytest.raises(ScrapeError, match=f"status {status}"):
        ask(engine)
    assert len(engine.requests) == 1


def test_too_large_an_answer_and_what_unpacks_to_one(engine):
    engine.answer = lambda handler: reply(handler, 200, b"x" * (LIMIT + 1))
    with pytest.raises(ScrapeError, match="more than 10000 bytes"):
        ask(engine)
    bomb = gzip.compress(b"x" * 100_000_000)
    engine.answer = lambda handler: reply(handler, 200, bomb, **{"Content-Encoding": "gzip"})
    with pytest.raises(ScrapeError, match="more than 10000 bytes"):
        ask(engine)
    engine.answer = lambda handler: reply(handler, 200, b"x" * LIMIT)
    assert len(ask(engine)) == LIMIT


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (b"a 1\n", "gzip", "is not valid gzip"),
        (gzip.compress(b"a 1\n" * 50, mtime=0)[:-9], "gzip", "incomplete"),
        (b"a 1\n", "br", "content encoding 'br'"),
    ],
)
def test_what_cannot_be_unpacked(engine, body, encoding, said):
    engine.answer = lambda handler: reply(handler, 200, body, **{"Content-Encoding": encoding})
    with pytest.raises(ScrapeError, match=said):
        ask(engine)


@pytest.mark.parametrize(
    ("header", "sent"),
    [
        ("Content-Length: 100", b"a 1\n"),
        ("Transfer-Encoding: chunked", b"4\r\na 1\n\r\n"),
        ("Transfer-Encoding: chunked", b"40\r\na 1\n"),
        ("Connection: close", b"a 1\nb 12"),
    ],
)
def test_an_answer_that_breaks_off_is_invalid(engine, header, sent):
    def answer(handler):
        handler.wfile.write(f"HTTP/1.1 200 OK\r\n{header}\r\n\r\n".encode() + sent)
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_WR)

    engine.answer = answer
    with pytest.raises(ScrapeError):
        ask(engine)


@pytest.mark.parametrize("drips", [False, True])
def test_an_engine_that_hangs_or_drips_is_given_up(engine, drips):
    done = threading.Event()

    def answer(handler):
        if drips:
            handler.send_response(200)
            handler.end_headers()
        while not done.wait(0.05):
            if drips:
                try:
                    handler.wfile.write(b"# nothing\n")
                except OSError:
                    return

    engine.answer = answer
    try:
        with pytest.raises(ScrapeError, match="takes more than 0.3 s" if drips else "timed out"):
            ask(engine, within_s=0.3)
    finally:
        done.set()


def test_nobody_there_and_no_http(engine):
    engine.stop()
    with pytest.raises(ScrapeError, match="refused"):
        ask(engine)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def speak():
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(ScrapeError):
            fetch(parse_target(f"http://127.0.0.1:{port}"), 5.0, LIMIT)
        thread.join()
    with pytest.raises(ScrapeError):
        fetch(parse_target("http://no..host/"), 5.0, LIMIT)


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "ENDPOINT_ANALYTICS_SCRAPE_TOKEN"),
        (404, "not enabled"),
        (307, "not followed"),
        (500, "500$"),
    ],
)
def test_a_status_says_how_to_fix_it(engine, status, hint):
    engine.answer = lambda handler: reply(handler, status, b"")
    with pytest.raises(ScrapeError, match=hint):
        ask(engine)
