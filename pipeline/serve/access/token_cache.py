"""The active tokens, and checking a presented token against them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from endpoint_analytics.pipeline.serve.access.lookup_cache import (
    GOOD_FOR_S,
    READ_EVERY_S,
    READ_FOR_REFUSAL_S,
    LookupCache,
)
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.tokens import (
    ACTIVE,
    MAX_TOKENS,
    AccessToken,
    parse_rows,
    parse_token,
    verify,
)

__all__ = ["GOOD_FOR_S", "READ_EVERY_S", "READ_FOR_REFUSAL_S", "TokenCache"]


class TokenCache:
    """Checks tokens. Belongs to one event loop."""

    def __init__(self, reader: Reader, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._cache: LookupCache[AccessToken] = LookupCache(self._read, clock)

    def __len__(self) -> int:
        return len(self._cache)

    async def check(self, text: str, *, again: bool = True) -> AccessToken | None:
        """Return the active token that `text` is, or None; raises StoreError if tokens cannot be checked.

        With `again=False`, a token created within the last READ_EVERY_S may be refused, and no refusal costs a query.
        """
        if parse_token(text) is None:
            return None
        return await self._cache.pick(lambda tokens: verify(text, tokens), again=again)

    async def find(self, token_id: str) -> AccessToken | None:
        """Return the active token of this id, or None; raises StoreError if tokens cannot be checked."""
        return await self._cache.find(token_id)

    async def _read(self) -> Mapping[str, AccessToken]:
        rows = await self._reader.read(ACTIVE, {"limit": MAX_TOKENS})
        return {token.token_id: token for token in parse_rows(rows)}
