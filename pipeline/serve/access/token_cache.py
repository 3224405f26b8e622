"""The tokens in force, and checking what was presented against them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from endpoint_analytics.pipeline.serve.access.lookup_cache import (
    GOOD_FOR_S,
    READ_EVERY_S,
    READ_FOR_REFUSAL_S,
    LookupCache,
)
from endpoint_analytics.pipeline.store.endpoint_metrics import Reader
from endpoint_analytics.pipeline.store.tokens import (
    IN_FORCE,
    MAX_TOKENS,
    Token,
    parse_rows,
    parse_token,
    verify,
)

__all__ = ["GOOD_FOR_S", "READ_EVERY_S", "READ_FOR_REFUSAL_S", "TokenCache"]


class TokenCache:
    """Checks tokens; belongs to one event loop."""

    def __init__(self, reader: Reader, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._book: LookupCache[Token] = LookupCache(self._read, clock)

    def __len__(self) -> int:
        return len(self._book)

    async def check(self, text: str, *, again: bool = True) -> Token | None:
        """Return the token in force that `text` is, or None; raises StoreError when none can be checked.

        When not `again`, one that was made within READ_EVERY_S may be refused, and no refusal costs a query.
        """
        if parse_token(text) is None:
            return None
        return await self._book.pick(lambda tokens: verify(text, tokens), again=again)

    async def find(self, token_id: str) -> Token | None:
        """Return the token in force of this id, or None; raises StoreError when that cannot be told."""
        return await self._book.find(token_id)

    async def _read(self) -> Mapping[str, Token]:
        rows = await self._reader.read(IN_FORCE, {"limit": MAX_TOKENS})
        return {token.token_id: token for token in parse_rows(rows)}
