"""A proxy in front of ClickHouse's HTTP interface that simulates network faults, as configured by a test.

It simulates only the network: it never answers in place of ClickHouse, whose refusals come from ClickHouse itself
(refusals.py). A rule looks at each request and decides its fate.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote_plus

from tests.faults.listener import Listener

_INSERT = re.compile(r"INSERT\s+INTO\s+[`\"]?(?:\w+[`\"]?\.[`\"]?)?(\w+)", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """A request with its complete body: an insert into `table`, or, without a table, anything else."""

    number: int
    table: str
    body_bytes: int

    @property
    def is_insert(self) -> bool:
        return bool(self.table)


@dataclass(frozen=True)
class Fate:
    """What happens to a request. By default, it is forwarded and its response returned.

    `delay_s` is waited first. `sent` is the share of the request's body that reaches ClickHouse: below 1, the
    connection is cut there (0: nothing reaches it). `answered` is the share of the response that is returned: below 1,
    the connection is cut there, after ClickHouse has responded. `hold_s` is waited before the cut. `then` is called
    once ClickHouse has responded or the request was cut.
    """

    name: str = "passed"
    delay_s: float = 0.0
    sent: float = 1.0
    answered: float = 1.0
    hold_s: float = 0.0
    then: Callable[[], None] | None = None


PASS = Fate()
UNREACHED = Fate("never sent", sent=0.0)
CUT_IN_REQUEST = Fate("cut in the request", sent=0.5)
CUT_IN_ANSWER = Fate("cut in the answer", answered=0.5)
ANSWER_LOST = Fate("answer lost", answered=0.0)


Rule = Callable[[Request], Fate]


class ClickHouseProxy(Listener):
    """Listens on a free port. `rule` may be set at any time; `counts` counts inserts by outcome."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._upstream = (host, port)
        self.rule: Rule = lambda _: PASS
        self.counts: Counter[str] = Counter()
        self._requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Forward everything again."""
        self.rule = lambda _: PASS
        self.counts.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer):
                pass
        with suppress(OSError):
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Forward one request; returns whether the connection stays open."""
        head, body = await _read_message(reader)
        self._requests += 1
        request = Request(self._requests, _table(head, body), len(body))
        fate = self.rule(request)
        if request.is_insert:
            self.counts[fate.name] += 1
        if fate.delay_s:
            await asyncio.sleep(fate.delay_s)
        answer = await self._forward(head, body, fate)
        if fate.then is not None:
            fate.then()
        if fate.hold_s:
            await asyncio.sleep(fate.hold_s)
        writer.write(answer[: int(len(answer) * fate.answered)])
        await writer.drain()
        return bool(answer) and fate.answered == 1.0

    async def _forward(self, head: bytes, body: bytes, fate: Fate) -> bytes:
        """Return ClickHouse's response, empty if there is none."""
        if fate.sent == 0:
            return b""
        try:
            upstream_reader, upstream = await asyncio.open_connection(*self._upstream)
        except OSError:
            return b""
        try:
            whole = head + body
            upstream.write(whole if fate.sent == 1 else whole[: len(head) + int(len(body) * fate.sent)])
            await upstream.drain()
            if fate.sent < 1:
                await asyncio.sleep(0.05)  # let it be read before the cut
                return b""
            return b"".join(await _read_message(upstream_reader))
        except (OSError, asyncio.IncompleteReadError):
            return b""
        finally:
            upstream.transport.abort()


async def _read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the head and the body of a request or response, unchanged."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = head.lower()
    if length := re.search(rb"\r\ncontent-length:\s*(\d+)", fields):
        return head, await reader.readexactly(int(length[1]))
    if b"\r\ntransfer-encoding: chunked" not in fields:
        return head, b""
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        body += line + await reader.readexactly(size + 2)
        if size == 0:
            return head, body


def _table(head: bytes, body: bytes) -> str:
    """Return the table that a request inserts into, or nothing."""
    address = unquote_plus(head.split(b"\r\n", 1)[0].decode())
    found = _INSERT.search(address) or _INSERT.search(body[:300].decode(errors="replace"))
    return found[1] if found else ""


@dataclass
class Once:
    """A rule that gives the `number`-th request that `concerns` it its `fate`, and passes all others."""

    concerns: Callable[[Request], bool]
    fate: Fate
    number: int = 1
    seen: int = 0
    met: bool = False

    def __call__(self, request: Request) -> Fate:
        if self.met or not self.concerns(request):
            return PASS
        self.seen += 1
        if self.seen < self.number:
            return PASS
        self.met = True
        return self.fate


@dataclass
class For:
    """A rule that gives all requests that `concerns` it their `fate` for some seconds after the first."""

    seconds: float
    concerns: Callable[[Request], bool]
    fate: Fate
    begun: float | None = None

    def __call__(self, request: Request) -> Fate:
        if not self.concerns(request):
            return PASS
        self.begun = self.begun or time.monotonic()
        return self.fate if time.monotonic() < self.begun + self.seconds else PASS


def inserts(request: Request) -> bool:
    return request.is_insert


def into(table: str) -> Callable[[Request], bool]:
    return lambda request: request.table == table


def reads(request: Request) -> bool:
    return not request.is_insert
