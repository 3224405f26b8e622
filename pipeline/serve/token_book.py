"""The tokens in force, read from ClickHouse every few seconds while they are asked for.

The whole book is read at once, so that any number of tokens, known or made up, costs one query in READ_EVERY_S.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from endpoint_analytics.pipeline.serve.shared_cache import SharedCache
from endpoint_analytics.pipeline.store.endpoint_metrics import Reader
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.tokens import IN_FORCE, MAX_TOKENS, Token, parse_rows, verify

READ_EVERY_S = 1.0
GOOD_FOR_S = 4.0
"""When ClickHouse does not answer, the book is used until it is so old; a revoked token opens nothing after it."""


class TokenBook:
    """Checks tokens; belongs to one event loop."""

    def __init__(self, reader: Reader, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._clock = clock
        self._cache: SharedCache[str, Mapping[str, Token]] = SharedCache(READ_EVERY_S, 1, clock)
        self._tokens: Mapping[str, Token] = {}
        self._read_s = float("-inf")

    def __len__(self) -> int:
        return len(self._tokens)

    async def check(self, text: str) -> Token | None:
        """Return the token in force that `text` is, or None; raises StoreError when none can be checked."""
        try:
            tokens, _ = await self._cache.get("book", self._read)
        except StoreError:
            if self._clock() >= self._read_s + GOOD_FOR_S:
                raise
            tokens = self._tokens
        return verify(text, tokens)

    async def _read(self) -> Mapping[str, Token]:
        asked_s = self._clock()
        rows = await self._reader.read(IN_FORCE, {"limit": MAX_TOKENS})
        self._tokens = {token.token_id: token for token in parse_rows(rows)}
        self._read_s = asked_s
        return self._tokens
