"""The middleware on a real uvicorn, with both of its HTTP parsers, over real sockets: exact totals."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

HTTP = pytest.mark.parametrize("http", ["httptools", "h11"])


class Gates:
    """Lets a test wait for what an endpoint does, and an endpoint for the test."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.left = threading.Semaphore(0)

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=10)

    def wait_left(self) -> None:
        assert self.left.acquire(timeout=10)


def make_app(gates: Gates) -> Starlette:
    async def plain(request: Request) -> Response:
        return PlainTextResponse("hello")

    async def echo(request: Request) -> Response:
        return Response(await request.body())

    async def count(request: Request) -> Response:
        size = 0
        async for piece in request.stream():
            size += len(piece)
        return PlainTextResponse(str(size))

    async def stream(request: Request) -> Response:
        async def pieces():
            for _ in range(5):
                yield b"piece"

        return StreamingResponse(pieces())

    async def status(request: Request) -> Response:
        return Response(status_code=request.path_params["code"])

    async def broken(request: Request) -> Response:
        raise RuntimeError("before the start")

    async def broken_stream(request: Request) -> Response:
        async def pieces():
            yield b"piece"
            raise RuntimeError("after the start")

        return StreamingResponse(pieces())

    async def gated(request: Request) -> Response:
        """Waits in the loop, as for a batch that another task computes."""
        gates.entered.release()
        await asyncio.to_thread(gates.go_on.wait, 10)
        gates.left.release()
        return PlainTextResponse("late")

    def computing(request: Request) -> Response:
        """Waits in a worker thread, so the event loop is free."""
        gates.entered.release()
        gates.go_on.wait(10)
        gates.left.release()
        return PlainTextResponse("late")

    async def blocking(request: Request) -> Response:
        """Blocks the event loop, as many models do."""
        gates.entered.release()
        gates.go_on.wait(10)
        gates.left.release()
        return PlainTextResponse("late")

    async def waiting(request: Request) -> Response:
        """Waits in the event loop, with unlimited concurrency."""
        gates.entered.release()
        while not gates.go_on.is_set():
            await asyncio.sleep(0.005)
        return PlainTextResponse("late")

    async def gated_stream(request: Request) -> Response:
        async def pieces():
            yield b"piece"
            gates.entered.release()
            await asyncio.to_thread(gates.go_on.wait, 10)
            gates.left.release()
            yield b"piece"

        return StreamingResponse(pieces())

    return Starlette(
        routes=[
            Route("/plain", plain),
            Route("/echo", echo, methods=["POST"]),
            Route("/count", count, methods=["POST"]),
            Route("/stream", stream),
            Route("/status/{code:int}", status),
            Route("/broken", broken),
            Route("/broken_stream", broken_stream),
            Route("/gated", gated),
            Route("/computing", computing),
            Route("/blocking", blocking),
            Route("/waiting", waiting),
            Route("/gated_stream", gated_stream),
        ]
    )


def ask(port: int, text: bytes, answers: int = 1) -> bytes:
    """Send raw bytes; return everything received until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(text)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received


def get(path: str, method: str = "GET", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers, "", ""]
    return "\r\n".join(lines).encode()


def close(path: str, method: str = "GET") -> bytes:
    return get(path, method, "Connection: close")


@HTTP
def test_plain(serve, http):
    with serve(make_app(Gates()), http=http) as served:
        assert ask(served.port, close("/plain")).endswith(b"hello")
    assert served.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


@HTTP
def test_streaming(serve, http):
    with serve(make_app(Gates()), http=http) as served:
        assert ask(served.port, close("/stream")).count(b"piece") == 5
    assert served.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


@HTTP
def test_head_of_a_plain_and_of_a_streamed_response(serve, http):
    with serve(make_app(Gates()), http=http) as served:
        for path in ("/plain", "/stream"):
            head, _, body = ask(served.port, close(path, "HEAD")).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert not body
    assert served.totals == {"arrived": 2, "finished": 2, "status": {"200": 2}}


@HTTP
def test_each_status_is_counted(serve, http):
    codes = [200, 204, 301, 304, 400, 404, 429, 500, 503]
    with serve(make_app(Gates()), http=http) as served:
        for code in codes:
            ask(served.port, close(f"/status/{code}"))
        ask(served.port, close("/nowhere"))
    statuses = {str(code): 1 for code in codes} | {"404": 2}
    assert served.totals == {"arrived": 10, "finished": 10, "status": statuses}


@HTTP
def test_an_exception_before_the_start_is_a_500(serve, http):
    with serve(make_app(Gates()), http=http) as served:
        assert ask(served.port, close("/broken")).startswith(b"HTTP/1.1 500")
    assert served.totals == {"arrived": 1, "finished": 1, "status": {"500": 1}}


@HTTP
def test_an_exception_after_the_start_cuts_the_stream_off(serve, http):
    with serve(make_app(Gates()), http=http) as served:
        received = ask(served.port, close("/broken_stream"))
        assert b"piece" in received
        assert not received.endswith(b"0\r\n\r\n")
    assert served.totals == {"arrived": 1, "aborted_streaming": 1, "status": {"200": 1}}


@HTTP
def test_an_application_that_answers_nothing_is_a_500(serve, http):
    async def silent(scope, receive, send):
        assert scope["type"] == "http"

    with serve(silent, http=http) as served:
        assert ask(served.port, close("/")).startswith(b"HTTP/1.1 500")
    assert served.totals == {"arrived": 1, "finished": 1, "status": {"500": 1}}


@HTTP
def test_an_application_that_leaves_its_body_unfinished(serve, http):
    async def careless(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"piece", "more_body": True})

    with serve(careless, http=http) as served:
        ask(served.port, close("/"))
    assert served.totals == {"arrived": 1, "aborted_streaming": 1, "status": {"200": 1}}


@HTTP
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("path", ["/gated", "/computing", "/blocking"])
def test_client_hangs_up_while_pending(serve, http, path, loop):
    gates = Gates()
    with serve(make_app(gates), http=http, loop=loop) as served:
        connection = socket.create_connection(("127.0.0.1", served.port))
        connection.sendall(get(path))
        gates.wait_entered()
        connection.close()
        time.sleep(0.03)  # the loop sees it meanwhile, or is blocked: no event shows which
        gates.go_on.set()
        gates.wait_left()
    assert served.totals == {"arrived": 1, "aborted_pending": 1}


@HTTP
@pytest.mark.parametrize("path", ["/gated", "/computing", "/blocking"])
def test_client_that_waits_long_gets_its_answer(serve, http, path):
    gates = Gates()
    with (
        serve(make_app(gates), http=http) as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection,
    ):
        connection.sendall(close(path))
        gates.wait_entered()
        time.sleep(0.03)  # longer than the stretch after which the socket itself is asked
        gates.go_on.set()
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert served.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


@HTTP
def test_client_resets_the_connection_while_pending(serve, http):
    gates = Gates()
    with serve(make_app(gates), http=http) as served:
        connection = socket.create_connection(("127.0.0.1", served.port))
        connection.sendall(get("/gated"))
        gates.wait_entered()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        time.sleep(0.03)
        gates.go_on.set()
        gates.wait_left()
    assert served.totals == {"arrived": 1, "aborted_pending": 1}


@HTTP
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_client_hangs_up_mid_stream(serve, http, loop):
    gates = Gates()
    with serve(make_app(gates), http=http, loop=loop) as served:
        connection = socket.create_connection(("127.0.0.1", served.port))
        connection.sendall(get("/gated_stream"))
        gates.wait_entered()
        assert b"200 OK" in connection.recv(65536)
        connection.close()
        time.sleep(0.03)
        gates.go_on.set()
    assert served.totals == {"arrived": 1, "aborted_streaming": 1, "status": {"200": 1}}


@HTTP
def test_client_hangs_up_while_a_full_buffer_holds_the_stream_back(serve, http):
    sent = threading.Semaphore(0)

    async def flood(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1_000):
            sent.release()
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    with (
        serve(flood, http=http) as served,
        socket.create_connection(("127.0.0.1", served.port)) as connection,
    ):
        connection.sendall(get("/"))
        assert connection.recv(1_000)
        assert sent.acquire(timeout=10)
    assert served.totals == {"arrived": 1, "aborted_streaming": 1, "status": {"200": 1}}


@HTTP
def test_client_hangs_up_while_the_last_message_waits_for_room(serve, http):
    last = threading.Event()

    async def large(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(20_000_000), "more_body": True})
        last.set()
        await send({"type": "http.response.body", "body": b"end"})

    with (
        serve(large, http=http) as served,
        socket.create_connection(("127.0.0.1", served.port)) as connection,
    ):
        connection.sendall(get("/"))
        assert last.wait(10)
        time.sleep(0.03)
    assert served.totals == {"arrived": 1, "aborted_streaming": 1, "status": {"200": 1}}


@HTTP
def test_client_that_has_all_it_was_promised_may_leave_before_the_end(serve, http):
    left = threading.Event()

    async def promised(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello", "more_body": True})
        await asyncio.to_thread(left.wait, 10)
        await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": b""})

    with serve(promised, http=http) as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
            connection.sendall(get("/"))
            received = b""
            while b"hello" not in received:
                received += connection.recv(65536)
        left.set()
    assert served.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


@HTTP
def test_client_hangs_up_while_sending_its_body(serve, http):
    with (
        serve(make_app(Gates()), http=http) as served,
        socket.create_connection(("127.0.0.1", served.port)) as connection,
    ):
        connection.sendall(get("/echo", "POST", "Content-Length: 100") + b"only the beginning")
        time.sleep(0.03)
    assert served.totals == {"arrived": 1, "aborted_pending": 1}


@HTTP
def test_a_sequence_on_one_connection(serve, http):
    with (
        serve(make_app(Gates()), http=http) as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection,
    ):
        for _ in range(20):
            connection.sendall(get("/plain"))
            received = b""
            while not received.endswith(b"hello"):
                received += connection.recv(65536)
    assert served.totals == {"arrived": 20, "finished": 20, "status": {"200": 20}}


@HTTP
def test_a_pipeline_on_one_connection(serve, http):
    with serve(make_app(Gates()), http=http) as served:
        received = ask(served.port, get("/plain") * 19 + close("/plain"))
        assert received.count(b"hello") == 20
    assert served.totals == {"arrived": 20, "finished": 20, "status": {"200": 20}}


@HTTP
def test_client_hangs_up_with_a_pipeline_in_front_of_it(serve, http):
    gates = Gates()
    with serve(make_app(gates), http=http) as served:
        connection = socket.create_connection(("127.0.0.1", served.port))
        connection.sendall(get("/gated") + get("/plain") * 3)
        gates.wait_entered()
        connection.close()
        time.sleep(0.03)
        gates.go_on.set()
        gates.wait_left()
    # A request that the server has not begun has not arrived at the application.
    assert served.totals == {"arrived": 1, "aborted_pending": 1}


@HTTP
def test_a_body_that_is_streamed_in(serve, http):
    async def post(port):
        async def pieces():
            for _ in range(50):
                yield bytes(10_000)

        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/count", data=pieces()) as answer,
        ):
            return await answer.text()

    with serve(make_app(Gates()), http=http) as served:
        assert asyncio.run(post(served.port)) == "500000"
    assert served.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


@HTTP
def test_an_answer_before_the_body_was_read(serve, http):
    with serve(make_app(Gates()), http=http) as served:
        assert b"405" in ask(
            served.port, get("/plain", "POST", "Content-Length: 5", "Connection: close") + b"12345"
        )
    assert served.totals == {"arrived": 1, "finished": 1, "status": {"405": 1}}


@HTTP
def test_continue_is_left_to_the_application(serve, http):
    with (
        serve(make_app(Gates()), http=http) as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection,
    ):
        connection.sendall(get("/echo", "POST", "Content-Length: 5", "Expect: 100-continue"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(b"12345")
        received = b""
        while not received.endswith(b"12345"):
            received += connection.recv(65536)
    assert served.totals == {"arrived": 1, "finished": 1, "status": {"200": 1}}


@HTTP
def test_a_thousand_at_once(serve, http):
    paths = ["/plain", "/stream", "/status/404", "/broken"]

    async def burst(port):
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def one(number):
                async with session.get(f"http://127.0.0.1:{port}{paths[number % 4]}") as answer:
                    await answer.read()

            await asyncio.gather(*(one(number) for number in range(1_000)))

    with serve(make_app(Gates()), http=http, backlog=2048) as served:
        asyncio.run(burst(served.port))
    statuses = {"200": 500, "404": 250, "500": 250}
    assert served.totals == {"arrived": 1_000, "finished": 1_000, "status": statuses}


@HTTP
def test_a_storm_of_clients_of_which_every_second_hangs_up(serve, http):
    gates = Gates()
    with serve(make_app(gates), http=http, backlog=2048) as served:
        clients = [socket.create_connection(("127.0.0.1", served.port), timeout=10) for _ in range(100)]
        for client in clients:
            client.sendall(close("/waiting"))
        for _ in clients:
            gates.wait_entered()
        for client in clients[::2]:
            client.close()
        time.sleep(0.1)
        gates.go_on.set()
        for client in clients[1::2]:
            while client.recv(65536):
                pass
            client.close()
    assert served.totals == {"arrived": 100, "finished": 50, "aborted_pending": 50, "status": {"200": 50}}


@HTTP
def test_a_server_that_is_stopped_answers_500_to_what_it_cancels(serve, http):
    gates = Gates()
    with serve(make_app(gates), http=http, timeout_graceful_shutdown=1) as served:
        connection = socket.create_connection(("127.0.0.1", served.port))
        connection.sendall(get("/waiting"))
        gates.wait_entered()
    assert connection.recv(100).startswith(b"HTTP/1.1 500 ")
    connection.close()
    assert served.totals == {"arrived": 1, "finished": 1, "status": {"500": 1}}


@HTTP
def test_middlewares_inside_change_nothing(serve, http):
    async def pass_on(request, call_next):
        return await call_next(request)

    app = make_app(Gates())
    app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    app.add_middleware(GZipMiddleware)
    with serve(app, http=http) as served:
        for path in ("/plain", "/stream", "/broken"):
            ask(served.port, close(path))
    assert served.totals == {"arrived": 3, "finished": 3, "status": {"200": 2, "500": 1}}


@HTTP
def test_another_middleware_outside_changes_no_count(serve, http):
    """An outer middleware that hides the server: requests are still counted."""

    async def pass_on(request, call_next):
        return await call_next(request)

    with serve(
        make_app(Gates()), http=http, wrap=lambda ours: BaseHTTPMiddleware(ours, dispatch=pass_on)
    ) as served:
        for path in ("/plain", "/stream"):
            ask(served.port, close(path))
    assert served.totals == {"arrived": 2, "finished": 2, "status": {"200": 2}}
