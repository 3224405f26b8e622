"""The suite for every capture method: what the clients saw is what the agent recorded.

A capture method provides a fixture `captured` (a `Captured`) and a subclass of `Behaviours`; see test_behaviours.py.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from tests.support.oracle import Accepted
from tests.support.waiting import eventually

from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.schemas.requests import Totals

PATIENCE_S = 60


@dataclass
class Captured:
    """A served application of behaviours whose requests are recorded.

    Clients connect to `port`, the test itself to `control_port`. `kill` ends the application as a crash would;
    the totals of `agents` together must match what the clients saw.
    """

    port: int
    control_port: int
    agents: list[Agent]
    kill: Callable[[], None]
    detects_truncation: bool = True

    def control(self, *words: object) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=PATIENCE_S)
        connection.request("GET", "/".join(["/control", *map(str, words)]))
        assert connection.getresponse().read() == b""
        connection.close()

    def wait_for_arrival(self) -> None:
        """Return when a request has been recorded that has not ended."""
        eventually(
            lambda: sum(agent.snapshot().active for agent in self.agents), bool, PATIENCE_S, "the request"
        )

    def accepted(self) -> Accepted:
        """What the agents recorded, except the sums of times: no client can know those to the microsecond."""
        total = Totals()
        for agent in self.agents:
            totals = agent.snapshot().totals
            total = Totals(
                **{name: getattr(total, name) + getattr(totals, name)
                   for name in ("arrived", "finished", "aborted_pending", "aborted_streaming")},
                status=dict(Counter(total.status) + Counter(totals.status)),
                dropped=dict(Counter(total.dropped) + Counter(totals.dropped)),
            )  # fmt: skip
        return Accepted(total)


@dataclass
class Seen:
    """What clients saw happen to their requests."""

    finished: int = 0
    aborted_pending: int = 0
    aborted_streaming: int = 0
    cut_short: int = 0
    status: Counter[str] = field(default_factory=Counter)

    def whole(self, status: int) -> None:
        self.finished += 1
        self.status[str(status)] += 1

    def nothing(self) -> None:
        """No status arrived, whichever side caused that."""
        self.aborted_pending += 1

    def part(self, status: int) -> None:
        """A response started, and the client did not wait for its end."""
        self.aborted_streaming += 1
        self.status[str(status)] += 1

    def cut(self, status: int) -> None:
        """A response started, and the server did not complete it."""
        self.cut_short += 1
        self.status[str(status)] += 1

    def accepted(self, *, detects_truncation: bool = True) -> Accepted:
        """The expected totals; without `detects_truncation`, responses cut short by the server count as finished."""
        finished, streaming = self.finished, self.aborted_streaming
        if detects_truncation:
            streaming += self.cut_short
        else:
            finished += self.cut_short
        arrived = finished + self.aborted_pending + streaming
        return Accepted(Totals(arrived, finished, self.aborted_pending, streaming, dict(self.status)))


def agree(captured: Captured, seen: Seen) -> None:
    """Wait until both agree, with patience for a busy machine, and check that it stays so."""
    reported = captured.detects_truncation
    expected = msgspec.to_builtins(seen.accepted(detects_truncation=reported).totals)
    eventually(
        lambda: msgspec.to_builtins(captured.accepted().totals),
        lambda found: found == expected,
        PATIENCE_S,
        f"what the clients saw, {expected}",
    )
    time.sleep(0.15)
    assert msgspec.to_builtins(captured.accepted().totals) == expected


def ask(port: int, seen: Seen, path: str, method: str = "GET", body: bytes | None = None) -> bytes:
    """Send a request, read what comes, and note it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        return read_answer(connection, seen, method, path, body)
    finally:
        connection.close()


def read_answer(
    connection: http.client.HTTPConnection, seen: Seen, method: str, path: str, body=None
) -> bytes:
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
    except (http.client.RemoteDisconnected, ConnectionError):
        seen.nothing()
        return b""
    try:
        found = answer.read()
    except (http.client.IncompleteRead, ConnectionError):
        seen.cut(answer.status)
        return b""
    seen.whole(answer.status)
    return found


def begin(port: int, path: str) -> socket.socket:
    """Send a request, and leave the answer to the test."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    return connection


def reset(connection: socket.socket) -> None:
    """Hang up as a client that dies does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


CLOSE = "Host: test\r\nConnection: close\r\n"
FORMS = {
    "GET /plain HTTP/1.0\r\nHost: test\r\n\r\n": 1,
    f"GET http://test/plain?a=1 HTTP/1.1\r\n{CLOSE}\r\n": 1,
    f"HEAD /status/404 HTTP/1.1\r\n{CLOSE}\r\n": 1,
    f"HEAD /stream HTTP/1.1\r\n{CLOSE}\r\n": 1,
    f"GET /status/304 HTTP/1.1\r\n{CLOSE}\r\n": 1,
    f"OPTIONS /status/204 HTTP/1.1\r\n{CLOSE}\r\n": 1,
    f"GET /status/404?q=%20%C3%A9 HTTP/1.1\r\n{CLOSE}\r\n": 1,
    f"POST /echo HTTP/1.1\r\n{CLOSE}Expect: 100-continue\r\nContent-Length: 4\r\n\r\nsaid": 1,
    f"POST /count HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    "3;a=b\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n": 1,
    f"GET /plain HTTP/1.1\r\nHost: test\r\n\r\nGET /status/404 HTTP/1.1\r\n{CLOSE}\r\n": 2,
}
"""What clients may send, each on its own connection, and how many responses they get."""


def statuses_of(port: int, request: str) -> list[int]:
    """Send raw bytes, and return the statuses of what comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(request.encode())
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]


def shake_hands(port: int, path: str) -> int:
    """Begin a websocket, and return the status; what comes after it is read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = connection.recv(65_536)
            assert piece, answer
            answer += piece
    return int(answer.split(b" ", 2)[1])


class Behaviours:
    """Each one behaviour."""

    def test_plain(self, captured):
        seen = Seen()
        for _ in range(5):
            assert ask(captured.port, seen, "/plain") == b"hello"
        assert ask(captured.port, seen, "/plain", "HEAD") == b""
        agree(captured, seen)

    def test_a_sequence_on_one_connection(self, captured):
        seen = Seen()
        connection = http.client.HTTPConnection("127.0.0.1", captured.port, timeout=PATIENCE_S)
        for _ in range(20):
            assert read_answer(connection, seen, "GET", "/plain") == b"hello"
            assert read_answer(connection, seen, "POST", "/echo", b"said") == b"said"
        connection.close()
        agree(captured, seen)

    def test_errors(self, captured):
        seen = Seen()
        for status in (204, 301, 400, 404, 429, 500, 503):
            ask(captured.port, seen, f"/status/{status}")
        agree(captured, seen)
        assert seen.finished == 7

    def test_an_exception(self, captured):
        seen = Seen()
        ask(captured.port, seen, "/broken")
        ask(captured.port, seen, "/broken_stream")
        agree(captured, seen)
        assert (seen.status, seen.cut_short) == ({"500": 1, "200": 1}, 1)

    def test_streaming(self, captured):
        seen = Seen()
        assert ask(captured.port, seen, "/stream") == b"piece" * 5
        assert len(ask(captured.port, seen, "/large/8000000")) == 8_000_000 // 65_536 * 65_536
        agree(captured, seen)

    def test_clients_hang_up_early(self, captured):
        seen = Seen()
        connections = [begin(captured.port, "/wait") for _ in range(6)]
        captured.control("entered", 6)
        for connection, hang_up in zip(connections, [reset, socket.socket.close] * 3, strict=True):
            hang_up(connection)
            seen.nothing()
        captured.control("release")
        agree(captured, seen)

    def test_clients_hang_up_late(self, captured):
        seen = Seen()
        connections = [begin(captured.port, "/wait_stream") for _ in range(6)]
        captured.control("entered", 6)
        for connection, hang_up in zip(connections, [reset, socket.socket.close] * 3, strict=True):
            while b"begun" not in connection.recv(65_536):
                pass
            hang_up(connection)
            seen.part(200)
        captured.control("release")
        agree(captured, seen)

    def test_a_client_hangs_up_in_a_large_answer(self, captured):
        seen = Seen()
        connection = begin(captured.port, "/large/100000000")
        assert connection.recv(10)
        time.sleep(0.1)  # all buffers on the way are full
        reset(connection)
        seen.part(200)
        agree(captured, seen)

    def test_a_thousand_at_once(self, captured):
        seen = Seen()
        paths = ["/plain", "/stream", "/status/404", "/broken"]

        async def one(path: str) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", captured.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read(-1)
            writer.close()
            assert answer.endswith((b"hello", b"0\r\n\r\n", b"\r\n\r\n", b"Error"))
            seen.whole(int(answer.split(b" ", 2)[1]))

        async def burst() -> None:
            async with asyncio.timeout(PATIENCE_S * 2):
                await asyncio.gather(*(one(paths[number % 4]) for number in range(1_000)))

        asyncio.run(burst())
        agree(captured, seen)
        assert seen.status == {"200": 500, "404": 250, "500": 250}

    def test_a_slow_upload(self, captured):
        seen = Seen()
        connection = http.client.HTTPConnection("127.0.0.1", captured.port, timeout=PATIENCE_S)
        connection.putrequest("POST", "/count")
        connection.putheader("Content-Length", "1000")
        connection.endheaders()
        for _ in range(10):
            connection.send(b"x" * 100)
            time.sleep(0.02)
        answer = connection.getresponse()
        assert answer.read() == b"1000"
        seen.whole(answer.status)
        connection.request("POST", "/count", iter([b"x" * 70_000] * 20), encode_chunked=True)
        answer = connection.getresponse()
        assert answer.read() == b"1400000"
        seen.whole(answer.status)
        connection.close()
        agree(captured, seen)

    def test_a_client_hangs_up_in_its_upload(self, captured):
        seen = Seen()
        connection = socket.create_connection(("127.0.0.1", captured.port))
        connection.sendall(
            b"POST /count HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nonly the beginning"
        )
        captured.wait_for_arrival()
        connection.close()
        seen.nothing()
        agree(captured, seen)

    def test_refused_websockets(self, captured):
        seen = Seen()
        for path in ("close", "deny/401", "deny/403", "broken"):
            status = shake_hands(captured.port, f"/ws/{path}")
            assert status in {401, 403, 500}
            seen.whole(status)
        assert shake_hands(captured.port, "/ws/accept") == 101
        seen.status["101"] += 1
        agree(captured, seen)

    def test_an_application_that_is_cancelled(self, captured):
        seen = Seen()
        ask(captured.port, seen, "/cancelled")
        agree(captured, seen)

    def test_forms_of_requests(self, captured):
        seen = Seen()
        for request, number in FORMS.items():
            statuses = [status for status in statuses_of(captured.port, request) if status >= 200]
            assert len(statuses) == number, request
            for status in (
                statuses
            ):  # servers differ: uvicorn's h11 takes the absolute form for a path, Envoy no HTTP/1.0
                seen.whole(status)
        agree(captured, seen)

    def test_the_application_is_killed(self, captured):
        seen = Seen()
        paths = ["/wait"] * 3 + ["/wait_stream"] * 3
        threads = [threading.Thread(target=ask, args=(captured.port, seen, path)) for path in paths]
        for thread in threads:
            thread.start()
        captured.control("entered", 6)
        captured.kill()
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        agree(captured, seen)
        assert seen.cut_short == 3
