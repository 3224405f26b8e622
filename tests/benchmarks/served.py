"""A bare application in a uvicorn process, with the middleware or without, and a client that keeps a rate."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

REQUEST = b"GET / HTTP/1.1\r\nHost: model\r\n\r\n"
END = b'{"label":"cat"}'

SERVER = f"""
import socket, sys, uvicorn
async def bare(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({{"type": message["type"] + ".complete"}})
            if message["type"] == "lifespan.shutdown":
                return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"15")]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": {END!r}}})
app = bare
if sys.argv[1] == "with":
    from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware
    app = AnalyticsMiddleware(bare, namespace="bench", endpoint="served")
listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])
"""


@contextmanager
def server(which: str, **environment: str) -> Iterator[int]:
    """Run a server, `with` the middleware or `without`, and yield its port."""
    words = [sys.executable, "-c", SERVER, which]
    child = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | environment, text=True
    )
    assert child.stdout is not None
    try:
        yield int(child.stdout.readline())
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


class Client(asyncio.Protocol):
    """One connection; returns to `idle` once its response is complete."""

    def __init__(self, idle: list[Client], taken_us: list[float]) -> None:
        self._idle, self._taken_us = idle, taken_us
        self._received = b""
        self._begun_ns = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def ask(self) -> None:
        self._begun_ns = time.perf_counter_ns()
        self._transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(END):
            self._taken_us.append((time.perf_counter_ns() - self._begun_ns) / 1_000)
            assert self._received.startswith(b"HTTP/1.1 200"), self._received
            self._received = b""
            self._idle.append(self)

    def close(self) -> None:
        self._transport.abort()


async def load(ports: dict[str, int], rate: float, seconds: float) -> dict[str, list[float]]:
    """Send each server `rate` requests a second, answered or not; return how long they took, in microseconds."""
    loop = asyncio.get_running_loop()
    taken: dict[str, list[float]] = {name: [] for name in ports}
    idle: dict[str, list[Client]] = {name: [] for name in ports}
    every: list[Client] = []

    async def connect(name: str, port: int) -> Client:
        _, client = await loop.create_connection(lambda: Client(idle[name], taken[name]), "127.0.0.1", port)
        return client

    for name, port in ports.items():
        for _ in range(8):
            client = await connect(name, port)
            idle[name].append(client)
            every.append(client)
    asked = 0
    begun, names = loop.time(), list(ports)
    while (now := loop.time()) < begun + seconds:
        if asked % len(names) == 0:
            random.shuffle(names)
        name = names[asked % len(names)]
        due = begun + asked / (rate * len(names))
        if due > now:
            await asyncio.sleep(due - now)
        if not idle[name]:
            client = await connect(name, ports[name])
            idle[name].append(client)
            every.append(client)
        idle[name].pop(0).ask()
        asked += 1
    await asyncio.sleep(0.5)
    for client in every:
        client.close()
    missing = asked - sum(map(len, taken.values()))
    assert not missing, f"{missing} requests were not answered"
    return taken
