"""A request's body: received in pieces and decompressed, with bounds on time and on memory."""

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


class RequestBody:
    """A request's body while it is being received."""

    def __init__(self, receive: Receive, stall_timeout_s: float) -> None:
        self._receive = receive
        self._stall_timeout_s = stall_timeout_s
        self._ahead: deque[bytes] = deque()
        self._pieces = self._decoded("")
        self.complete = False
        """Whether all of it has been received."""
        self._until_s = math.inf

    def limit_time(self, within_s: float) -> None:
        """Limit the time for the whole rest of the body, even if it keeps arriving."""
        self._until_s = asyncio.get_running_loop().time() + within_s

    def decode(self, content_encoding: str) -> None:
        """Decompress what is read from now on; call before the first read, which raises ClickHouseError."""
        self._pieces = self._decoded(content_encoding)

    async def fetch(self, most_bytes: int) -> bool:
        """Receive the body ahead of `read`, still compressed; False if it is larger than `most_bytes`."""
        size = sum(map(len, self._ahead))
        while not self.complete and size <= most_bytes:
            piece = await self._receive_piece()
            self._ahead.append(piece)
            size += len(piece)
        return size <= most_bytes

    async def read(self, at_least: int) -> tuple[bytes, bool]:
        """Return `at_least` bytes or more, or fewer if the body ends, and whether these are the last."""
        parts = bytearray()
        async for piece in self._pieces:
            parts += piece
            if len(parts) >= at_least:
                return bytes(parts), False
        return bytes(parts), True

    async def drain(self) -> None:
        """Receive and discard the rest, so that the client reads the answer instead of seeing a broken pipe."""
        self.limit_time(min(_DRAINED_WITHIN_S, self._stall_timeout_s))
        self._ahead.clear()
        while not self.complete:
            await self._receive_piece()

    async def _decoded(self, content_encoding: str) -> AsyncIterator[bytes]:
        decoder = make_decoder(content_encoding) if content_encoding not in ("", "identity") else None
        while self._ahead or not self.complete:
            piece = self._ahead.popleft() if self._ahead else await self._receive_piece()
            if decoder is None:
                yield piece
            else:
                for plain in decoder.decode(piece):
                    yield plain
        if decoder is not None:
            decoder.finish()

    async def _receive_piece(self) -> bytes:
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
