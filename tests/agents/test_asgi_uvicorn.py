"""The middleware on a real uvicorn, with both of its HTTP parsers, over real sockets: exact totals."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

HTTP = pytest.mark.parametrize("http", ["httptools", "h11"])
LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


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
        """Waits in a worker thread, and the loop is free."""
        gates.entered.release()
        gates.go_on.wait(10)
        gates.left.release()
        return PlainTextResponse("late")

    async def blocking(request: Request) -> Response:
        """Keeps the loop to itself, as many a model does."""
        gates.entered.release()
        gates.go_on.wait(10)
        gates.left.release()
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
            Route("/gated_stream", gated_stream),
        ]
    )


def ask(port: int, text: bytes, answers: int = 1) -> bytes:
    """Send raw bytes; return what comes until the server closes."""
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
@pytest.mark.parametrize("path", ["/gated", "/computing", "/blocking"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_client_hangs_up_while_pending(serve, http, path, loop):
    gates = Gates()
    with serve(make_app(gates), http=http, loop=loop) as served:
        connection = socket.create_connection(("127.0.0.1", served.port))
        connection.sendall(get(path))
        gates.wait_entered()
        connection.close()
        time.sleep(0.05)
        gates.go_on.set()
        gates.wait_left()
    assert served.totals == {"arrived": 1, "aborted_pending": 1}
