"""Whatever breaks in our code on a request's path, the application's answer is the same, byte for byte.

Each function of ours that a request calls is broken in turn, in a real uvicorn and a real waitress. Which those are is
not listed here: they are watched.
"""

from __future__ import annotations

import asyncio
import gc
import io
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType

import pytest
import uvicorn
import waitress.server
from tests.agents.behaviour_app import BehaviourApp

from endpoint_analytics.agents.middleware import asgi, harmless, wsgi
from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware

AGENTS = str(Path(asgi.__file__).resolve().parents[1])

BOUNDARY = {
    # These catch; what they call is broken. Entering them cannot fail.
    "AnalyticsMiddleware.__call__",
    "WSGIAnalyticsMiddleware.__call__",
    "AnalyticsMiddleware._serve_lifespan",
    "AsgiExchange.send",
    "AsgiExchange._checked_send",
    "AsgiExchange.receive",
    "AsgiExchange.returned",
    "AsgiExchange.give_up",
    "Handshake.send",
    "Handshake.receive",
    "Handshake.returned",
    "Handshake.give_up",
    "QueueReceive.receive",
    "WsgiExchange.start_response",
    "WsgiExchange.start_response.<locals>.watched",
    "WsgiExchange.body",
    "WsgiExchange.give_up",
    "RecordedBody.__init__",
    "RecordedBody.__iter__",
    "RecordedBody.__next__",
    "RecordedBody._pieces",
    "RecordedBody.close",
    "SizedBody.__len__",
    "_close_with.<locals>.watched",
    "report_bug",
    "harmless.<locals>.guarded",
}

HANDSHAKE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
GETS = [
    "/plain",
    "/status/204",
    "/status/404",
    "/status/500",
    "/stream",
    "/broken",
    "/broken_stream",
    "/large/200000",
]
REQUESTS = [
    *(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n" for path in GETS),
    "HEAD /plain HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 4\r\n\r\nsaid",
    "GET /plain HTTP/1.0\r\n\r\n",
]
HANDSHAKES = [
    f"GET /ws/{word} HTTP/1.1\r\nHost: test\r\n{HANDSHAKE}\r\n"
    for word in ("accept", "close", "deny/401", "broken")
]
ASGI_ONLY = ["GET /cancelled HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", *HANDSHAKES]


def raw(port: int, request: str) -> bytes:
    """Return everything received, except the date."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request.encode())
        found = b""
        while piece := connection.recv(65_536):
            found += piece
            if b" 101 " in found[:20] and b"hello" in found:
                break  # the close is the client's to answer
    return re.sub(rb"(?i)date: [^\r]*\r\n", b"", found)


@contextmanager
def uvicorn_of(app: object) -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.005)
        assert thread.is_alive()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def waitress_of(app: object) -> Iterator[int]:
    server = waitress.server.create_server(app, port=0, threads=2, host="127.0.0.1")
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.effective_port
    finally:
        server.close()
        server.task_dispatcher.shutdown()
        thread.join(30)


def wsgi_app(environ, start_response):
    """The behaviours that WSGI can have."""
    headers = [("Content-Type", "text/plain")]
    match environ["PATH_INFO"].split("/")[1:]:
        case ["plain"]:
            start_response("200 OK", [*headers, ("Content-Length", "5")])
            return [b"hello"]
        case ["echo"]:
            said = environ["wsgi.input"].read()
            start_response("200 OK", [*headers, ("Content-Length", str(len(said)))])(said[:2])
            return [said[2:]]
        case ["status", code]:
            start_response(f"{code} Whatever", headers)
            return []
        case ["stream"]:
            start_response("200 OK", headers)
            return (b"piece" for _ in range(5))
        case ["large", size]:
            start_response("200 OK", [*headers, ("Content-Length", size)])
            return environ["wsgi.file_wrapper"](io.BytesIO(bytes(int(size))))
        case ["broken_stream"]:
            start_response("200 OK", headers)
            return broken()
    raise RuntimeError("before the start")


def broken():
    yield b"begun"
    raise RuntimeError("after the start")


@contextmanager
def watched() -> Iterator[set[CodeType]]:
    """Yield the code of each of our functions called in newly started threads, except the agent's own."""
    found: set[CodeType] = set()

    def look(frame, event, _argument):
        is_ours = event == "call" and frame.f_code.co_filename.startswith(AGENTS)
        if is_ours and not threading.current_thread().name.startswith("endpoint-analytics"):
            found.add(frame.f_code)

    threading.setprofile(look)
    try:
        yield found
    finally:
        threading.setprofile(None)


def breakable(found: set[CodeType]) -> list[FunctionType]:
    """Return the functions of these codes whose code can be replaced, but for the boundary."""
    functions = [
        one
        for code in found
        if code.co_qualname not in BOUNDARY and not code.co_freevars
        for one in gc.get_referrers(code)
        if isinstance(one, FunctionType) and one.__code__ is code
    ]
    return sorted(functions, key=lambda one: (one.__module__, one.__qualname__))


class BreakageError(Exception):
    """The injected error."""


def breaks(*_arguments: object, **_named: object) -> None:
    raise BreakageError


@contextmanager
def broken_function(function: FunctionType) -> Iterator[None]:
    whole = function.__code__
    function.__code__ = breaks.__code__
    function.__globals__["BreakageError"] = BreakageError
    try:
        yield
    finally:
        function.__code__ = whole
        del function.__globals__["BreakageError"]


@pytest.fixture(autouse=True)
def _says_each_time(monkeypatch):
    monkeypatch.setattr(harmless, "LOG_EVERY_S", 0.0)


def harms_nobody(serve, plain, captured, agent_of, requests, expected_functions) -> None:
    with serve(plain) as port:
        expected = [raw(port, request) for request in requests]
    with watched() as found, serve(captured()) as port:
        assert [raw(port, request) for request in requests] == expected
    middleware = captured()
    functions = breakable(found)
    names = {function.__qualname__ for function in functions}
    assert expected_functions <= names
    with serve(middleware) as port:
        raw(port, requests[0])
        for function in functions:
            with broken_function(function):
                got = [raw(port, request) for request in requests]
            assert got == expected, function.__qualname__
        assert raw(port, requests[0]) == expected[0]
        agent = agent_of(middleware)
    agent.stop()
    totals = agent.snapshot().totals
    assert (
        totals.arrived
        == totals.finished + totals.aborted_pending + totals.aborted_streaming + agent.snapshot().active
    )


def test_under_uvicorn(make_config):
    wrapped = []

    def captured():
        def wrap(app):
            wrapped.append(AnalyticsMiddleware(app, config=make_config(exclude_paths=("/nothing",))))
            return wrapped[-1]

        return BehaviourApp(wrap)

    harms_nobody(
        uvicorn_of,
        BehaviourApp(),
        captured,
        lambda _: wrapped[-1].agent,
        [*REQUESTS, *ASGI_ONLY],
        {"Recorder.arrive", "RecordedRequest.respond", "RecordedRequest.finish", "RecordedRequest.abort",
         "AsgiExchange.__init__", "is_excluded",
         "Handshake.__init__"},
    )  # fmt: skip


def test_under_waitress(make_config):
    harms_nobody(
        waitress_of,
        wsgi_app,
        lambda: wsgi.WSGIAnalyticsMiddleware(wsgi_app, config=make_config(exclude_paths=("/nothing",))),
        lambda middleware: middleware.process.agent,
        REQUESTS,
        {"Recorder.arrive", "RecordedRequest.respond", "RecordedRequest.finish", "RecordedRequest.abort",
         "WsgiExchange.__init__",
         "WsgiExchange.offer", "WsgiExchange.complete", "is_closed", "status_code"},
    )  # fmt: skip


def test_whatever_fails_when_the_agent_starts(make_config):
    """Each function that the first request calls is broken, each in a middleware of its own."""
    scope = {"type": "http", "path": "/plain", "method": "GET"}
    sent: list[object] = []

    async def send(message):
        sent.append(message)

    def first(middleware):
        sent.clear()
        asyncio.run(middleware(dict(scope), None, send))
        agent = middleware.agent
        if agent is not None:
            agent.stop()
        return list(sent)

    def in_a_thread(work):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(30)

    behave = BehaviourApp().behave
    expected = first(AnalyticsMiddleware(behave, config=make_config()))
    with watched() as found:
        in_a_thread(lambda: first(AnalyticsMiddleware(behave, config=make_config())))
    functions = breakable(found)
    assert {"Agent.__init__", "Agent.start", "ProcessAgent.start"} <= {one.__qualname__ for one in functions}
    for function in functions:
        if function.__qualname__ == "Agent.stop":
            continue  # the test's own
        middleware = AnalyticsMiddleware(behave, config=make_config())
        if middleware.error is not None:
            continue
        with broken_function(function):
            sent.clear()
            asyncio.run(middleware(dict(scope), None, send))
            assert sent == expected, function.__qualname__
        if middleware.agent is not None:
            middleware.agent.stop()
