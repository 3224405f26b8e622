"""A replica for end-to-end tests: the served application in a real uvicorn, and clients that misbehave."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import msgspec
from tests.support.oracle import Accepted
from tests.support.parts import Child, Stack
from tests.support.waiting import eventually

from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.schemas.requests import Totals


class Written(msgspec.Struct):
    boot_id: str
    active: int
    flushes: int
    totals: Totals


class Replica:
    """One uvicorn process with its agent."""

    def __init__(self, stack: Stack, endpoint: str, replica_id: str, namespace: str = "tests") -> None:
        self.namespace, self.endpoint, self.replica_id = namespace, endpoint, replica_id
        self._totals = stack.directory / f"{replica_id}.totals"
        self._latencies = stack.directory / f"{replica_id}.latencies"
        words = [sys.executable, "-c", _SERVE]
        self.child: Child = stack.program(
            replica_id,
            words,
            r"listening (\d+)\n",
            ENDPOINT_ANALYTICS_NAMESPACE=namespace,
            ENDPOINT_ANALYTICS_ENDPOINT=endpoint,
            ENDPOINT_ANALYTICS_REPLICA_ID=replica_id,
            LATENCIES=str(self._latencies),
            TOTALS=str(self._totals),
        )
        self.port = 0

    def start(self) -> Replica:
        self.port = int(self.child.start()[1])
        return self

    def get(self, path: str) -> int:
        """Send a request, read the answer to its end; returns the status."""
        with self.begin(path) as connection:
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
            return int(answer.split(b" ", 2)[1])

    def begin(self, path: str, method: str = "GET", body: bytes = b"") -> socket.socket:
        """Send a request and return its connection, to be read or hung up."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        return connection

    def release(self) -> None:
        """Let the hanging requests continue."""
        os.kill(self.child.pid, signal.SIGUSR2)

    def accepted(self) -> tuple[BootKey, Accepted]:
        """Return what the agent reports as accepted, once all requests have ended and are flushed."""
        begun = self._read()
        written = eventually(
            self._read,
            lambda now: now.active == 0 and now.flushes >= begun.flushes + 3,
            20,
            "three more flushes, and no request left",
        )
        key = BootKey(self.namespace, self.endpoint, self.replica_id, written.boot_id)
        return key, Accepted(written.totals)

    def _read(self) -> Written:
        Path(self._totals).unlink(missing_ok=True)
        os.kill(self.child.pid, signal.SIGUSR1)
        eventually(self._totals.exists, bool, 5, "the file of totals")
        return msgspec.json.decode(self._totals.read_bytes(), type=Written)

    def latencies_us(self, without_path: str) -> list[int]:
        """Return the durations measured by the stopwatch around the middleware, except those of one path."""
        lines = [line.split() for line in self._latencies.read_text().splitlines()]
        return [int(duration) for path, duration in lines if path != without_path]


_SERVE = """
import socket, uvicorn
from tests.integration.served import app
listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("listening", listener.getsockname()[1], flush=True)
Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=3)).run(sockets=[listener])
"""
