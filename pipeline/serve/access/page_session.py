"""The page's session: a value in place of the token. Opening, checking and ending it belongs here, HTTP does not.

A value is `<session_id>.<secret>`; the session is a row in ClickHouse with the secret's hash. So it goes on over
restarts and in every query service, nobody who reads the table can make a value, and a session that was signed out is
over everywhere, whoever kept its cookie. Who revokes the token ends its sessions: each check asks the token book.
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
from endpoint_analytics.pipeline.store.endpoint_metrics import Reader
from endpoint_analytics.pipeline.store.page_sessions import (
    END,
    IN_FORCE,
    MAX_SESSIONS,
    OPEN,
    PageSession,
    in_force_parameters,
    parse_rows,
)
from endpoint_analytics.pipeline.store.tokens import Token, sha256_hex

LASTS_S = 12 * 3600

_VALUE = re.compile(r"([0-9a-f]{16})\.([A-Za-z0-9_-]{43})", re.ASCII)
_NO_HASH = "0" * 64


class Store(Reader, Protocol):
    """Where sessions are kept."""

    async def write(self, sql: str, parameters: Mapping[str, Any]) -> None:
        """Return when the statement's rows are stored; raises StoreError."""


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in, and until when."""

    token: Token
    expires_s: int


class Sessions:
    """Opens, checks and ends sessions; `find` gives the token in force of an id. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        find: Callable[[str], Awaitable[Token | None]],
        now_s: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._find = find
        self._now_s = now_s
        self._book: LookupCache[PageSession] = LookupCache(self._read, clock)
        # What ended here is over here at once, also when ClickHouse cannot be asked.
        self._ended: OrderedDict[str, None] = OrderedDict()

    async def open(self, token: Token) -> tuple[str, Session]:
        """Return the value of a new session, and the session, once it is stored; raises StoreError."""
        session_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        opened_s = int(self._now_s())
        kept = PageSession(session_id, sha256_hex(secret), token.token_id, opened_s, opened_s + LASTS_S)
        await self._store.write(OPEN, kept.parameters())
        return f"{session_id}.{secret}", Session(token, kept.expires_s)

    async def check(self, value: str) -> Session | None:
        """Return the session of a value; None when it is none or over, or its token is revoked.

        Raises StoreError when that cannot be told. What is wrong makes no difference in time.
        """
        kept = await self._kept(value)
        token = await self._find(kept.token_id) if kept is not None else None
        return Session(token, kept.expires_s) if kept is not None and token is not None else None

    async def end(self, value: str) -> None:
        """Return when the session of a value is over in every query service; raises StoreError where it may not be."""
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

        kept = await self._book.pick(fits)
        if kept is None or kept.session_id in self._ended or kept.expires_s <= self._now_s():
            return None
        return kept

    async def _read(self) -> Mapping[str, PageSession]:
        return parse_rows(await self._store.read(IN_FORCE, in_force_parameters(self._now_s())))
