"""A request's body: received piece by piece, decompressed, with bounds on time and on size held in memory."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from endpoint_analytics.infra.local.clickhouse.decoding import make_decoder
from endpoint_analytics.infra.local.clickhouse.errors import SOCKET_TIMEOUT, refusal

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_DRAINED_WITHIN_S = 5.0


class ClientGoneError(Exception):
    """The client closed its connection before its request was complete."""


class Body:
    """The rest of a request's body."""

    def __init__(self, receive: Receive, stall_timeout_s: float) -> None:
        self._receive = receive
        self._stall_timeout_s = stall_timeout_s
        self._ahead: deque[bytes] = deque()
        self._pieces = self._decoded("")
        self.complete = False
        """Whether all of it was received."""
        self._until_s = math.inf

    def hurry(self, within_s: float) -> None:
        """Give all that is left so long, and no longer, however steadily it comes."""
        self._until_s = asyncio.get_running_loop().time() + within_s

    def decode(self, content_encoding: str) -> None:
        """Have what is read decompressed; before the first is read. Raises ClickHouseError at the reading."""
        self._pieces = self._decoded(content_encoding)

    async def fetch(self, most_bytes: int) -> bool:
        """Receive, for `read`, what comes before it is decompressed; False when there is more than `most_bytes`."""
        size = sum(map(len, self._ahead))
        while not self.complete and size <= most_bytes:
            piece = await self._come()
            self._ahead.append(piece)
            size += len(piece)
        return size <= most_bytes

    async def read(self, at_least: int) -> tuple[bytes, bool]:
        """Some `at_least` bytes, or fewer when the body ends; True with the last of them."""
        parts = bytearray()
        async for piece in self._pieces:
            parts += piece
            if len(parts) >= at_least:
                return bytes(parts), False
        return bytes(parts), True

    async def drain(self) -> None:
        """Receive and forget what is left, so that the client reads our answer and not a broken pipe."""
        self.hurry(min(_DRAINED_WITHIN_S, self._stall_timeout_s))
        self._ahead.clear()
        while not self.complete:
            await self._come()

    async def _decoded(self, content_encoding: str) -> AsyncIterator[bytes]:
        decoder = make_decoder(content_encoding) if content_encoding not in ("", "identity") else None
        while self._ahead or not self.complete:
            piece = self._ahead.popleft() if self._ahead else await self._come()
            if decoder is None:
                yield piece
            else:
                for plain in decoder.decode(piece):
                    yield plain
        if decoder is not None:
            decoder.finish()

    async def _come(self) -> bytes:
        until_s = min(self._until_s, asyncio.get_running_loop().time() + self._stall_timeout_s)
        try:
            async with asyncio.timeout_at(until_s):
                message = await self._receive()
        except TimeoutError:
            within = f"{self._stall_timeout_s:g} s"
            raise refusal(
                SOCKET_TIMEOUT, f"Timeout exceeded while receiving the request's body, {within}."
            ) from None
        if message["type"] == "http.disconnect":
            self.complete = True
            raise ClientGoneError
        self.complete = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece
