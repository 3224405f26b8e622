"""The page's session: a cookie value that stands in for the token. Opens, checks and ends sessions; no HTTP here.

A value is `<session_id>.<secret>`; the session is a row in ClickHouse with the secret's hash. So it survives restarts
and works in every query service, reading the table does not reveal a value, and signing out ends the session
everywhere, even for a copied cookie. Revoking a token ends its sessions: each check looks the token up.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from endpoint_analytics.pipeline.serve.access.lookup_cache import LookupCache
from endpoint_analytics.pipeline.store.page_sessions import (
    ACTIVE,
    END,
    MAX_SESSIONS,
    OPEN,
    PageSession,
    active_parameters,
    parse_rows,
)
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.tokens import AccessToken, sha256_hex

LIFETIME_S = 12 * 3600

_VALUE = re.compile(r"([0-9a-f]{16})\.([A-Za-z0-9_-]{43})", re.ASCII)
_NO_HASH = "0" * 64


class Store(Reader, Protocol):
    """Where sessions are stored."""

    async def write(self, sql: str, parameters: Mapping[str, Any]) -> None:
        """Run the statement; returns once its rows are stored. Raises StoreError."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The token that is signed in, and until when."""

    token: AccessToken
    expires_s: int


class PageSessions:
    """Opens, checks and ends sessions. `find` returns the active token of an id. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        find: Callable[[str], Awaitable[AccessToken | None]],
        now_s: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._find = find
        self._now_s = now_s
        self._cache: LookupCache[PageSession] = LookupCache(self._read, clock)
        # A session ended by this process is refused here at once, even while ClickHouse is down.
        self._ended: OrderedDict[str, None] = OrderedDict()

    async def open(self, token: AccessToken) -> tuple[str, SignedIn]:
        """Store a new session, then return its value and itself; raises StoreError."""
        session_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        opened_s = int(self._now_s())
        kept = PageSession(session_id, sha256_hex(secret), token.token_id, opened_s, opened_s + LIFETIME_S)
        await self._store.write(OPEN, kept.parameters())
        return f"{session_id}.{secret}", SignedIn(token, kept.expires_s)

    async def check(self, value: str) -> SignedIn | None:
        """Return the session of a value; None if it is unknown or over, or if its token is revoked.

        Raises StoreError if it cannot be checked. The time taken does not reveal what was wrong.
        """
        kept = await self._kept(value)
        token = await self._find(kept.token_id) if kept is not None else None
        return SignedIn(token, kept.expires_s) if kept is not None and token is not None else None

    async def end(self, value: str) -> None:
        """End the session of a value in every query service; raises StoreError if it may still be active."""
        kept = await self._kept(value)
        if kept is None:
            return
        await self._store.write(END, kept.parameters())
        self._ended[kept.session_id] = None
        while len(self._ended) > MAX_SESSIONS:
            self._ended.popitem(last=False)

    async def _kept(self, value: str) -> PageSession | None:
        match = _VALUE.fullmatch(value)
        if match is None:
            return None
        session_id, secret = match.groups()
        secret_sha256 = sha256_hex(secret)

        def fits(sessions: Mapping[str, PageSession]) -> PageSession | None:
            known = sessions.get(session_id)
            same = hmac.compare_digest(secret_sha256, known.secret_sha256 if known else _NO_HASH)
            return known if same else None

        kept = await self._cache.pick(fits)
        if kept is None or kept.session_id in self._ended or kept.expires_s <= self._now_s():
            return None
        return kept

    async def _read(self) -> Mapping[str, PageSession]:
        return parse_rows(await self._store.read(ACTIVE, active_parameters(self._now_s())))
