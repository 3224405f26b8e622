"""A request's body: received piece by piece, decompressed, with bounds on time and on size held in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from endpoint_analytics.infra.clickhouse.decoding import make_decoder
from endpoint_analytics.infra.clickhouse.errors import refusal

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_STALLED_S = 300.0


class ClientGoneError(Exception):
    """The client closed its connection before its request was complete."""


class Body:
    """The rest of a request's body."""

    def __init__(self, receive: Receive, content_encoding: str) -> None:
        self._receive = receive
        self._pieces = self._decoded(content_encoding)
        self._complete = False

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
        while not self._complete:
            await self._next()

    async def _decoded(self, content_encoding: str) -> AsyncIterator[bytes]:
        decoder = make_decoder(content_encoding) if content_encoding not in ("", "identity") else None
        while not self._complete:
            piece = await self._next()
            if decoder is None:
                yield piece
            else:
                for plain in decoder.decode(piece):
                    yield plain
        if decoder is not None:
            decoder.finish()

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(_STALLED_S):
                message = await self._receive()
        except TimeoutError:
            raise refusal(
                209, f"Timeout exceeded while receiving the request's body, {_STALLED_S:.0f} s."
            ) from None
        if message["type"] == "http.disconnect":
            self._complete = True
            raise ClientGoneError
        self._complete = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece
