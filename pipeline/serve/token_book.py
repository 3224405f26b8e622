"""The tokens in force, read from ClickHouse every few seconds while they are asked for.

The whole book is read at once, so that any number of tokens, known or made up, costs few queries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from endpoint_analytics.pipeline.serve.shared_cache import SharedCache
from endpoint_analytics.pipeline.store.endpoint_metrics import Reader
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.tokens import (
    IN_FORCE,
    MAX_TOKENS,
    Token,
    parse_rows,
    parse_token,
    verify,
)

READ_EVERY_S = 1.0
"""A revoked token opens nothing after it, as long as ClickHouse answers."""
READ_FOR_REFUSAL_S = 0.1
"""Refused tokens make the book be read at most so often."""
GOOD_FOR_S = 4.0
"""When ClickHouse does not answer, the book is used until it is so old."""


class TokenBook:
    """Checks tokens; belongs to one event loop."""

    def __init__(self, reader: Reader, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._clock = clock
        self._reads: SharedCache[str, None] = SharedCache(0.0, 1, clock)
        self._tokens: Mapping[str, Token] = {}
        self._read_s = float("-inf")

    def __len__(self) -> int:
        return len(self._tokens)

    async def check(self, text: str) -> Token | None:
        """Return the token in force that `text` is, or None; raises StoreError when none can be checked.

        What does not fit may be new, so the book is read once more before it is refused: whatever is wrong
        with it, a refusal takes the same way and as long.
        """
        if parse_token(text) is None:
            return None
        asked_s = self._clock()
        if asked_s >= self._read_s + READ_EVERY_S:
            await self._refresh(tolerant=True)
        token = verify(text, self._tokens)
        while token is None and self._read_s < asked_s:
            await asyncio.sleep(self._read_s + READ_FOR_REFUSAL_S - self._clock())
            await self._refresh(tolerant=False)
            token = verify(text, self._tokens)
        return token

    async def find(self, token_id: str) -> Token | None:
        """Return the token in force of this id, or None; raises StoreError when that cannot be told."""
        if self._clock() >= self._read_s + READ_EVERY_S:
            await self._refresh(tolerant=True)
        return self._tokens.get(token_id)

    async def _refresh(self, *, tolerant: bool) -> None:
        """Read the book, or join who reads it; when it cannot be read, a tolerant asker takes a recent one."""
        try:
            await self._reads.get("book", self._read)
        except StoreError:
            if not tolerant or self._clock() >= self._read_s + GOOD_FOR_S:
                raise

    async def _read(self) -> None:
        asked_s = self._clock()
        rows = await self._reader.read(IN_FORCE, {"limit": MAX_TOKENS})
        self._tokens = {token.token_id: token for token in parse_rows(rows)}
        self._read_s = asked_s
