"""The page's session: a signed value in place of the token. Making and checking it belongs here, HTTP does not.

A value is `<token_id>.<expires>.<mac>`. The MAC is keyed with a secret of the service's own, so that whoever can
read the tokens table cannot make one, and covers the token's hash, so that it is bound to that very token. Who
revokes the token ends its sessions: each check asks the token book.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from endpoint_analytics.pipeline.store.tokens import Token

KEY_VARIABLE = "ENDPOINT_ANALYTICS_SESSION_KEY"
MIN_KEY_LENGTH = 32
LASTS_S = 12 * 3600

_VALUE = re.compile(r"([0-9a-f]{16})\.([0-9]{1,11})\.([0-9a-f]{64})", re.ASCII)
_NO_HASH = "0" * 64


class SessionKeyError(ValueError):
    """A key that cannot be used."""


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in, and until when."""

    token: Token
    expires_s: int


def session_key(environment: Mapping[str, str] | None = None) -> bytes:
    """Return the key of the environment, or one drawn for this process: its sessions end with it."""
    given = (os.environ if environment is None else environment).get(KEY_VARIABLE, "")
    if not given:
        return secrets.token_bytes(32)
    if len(given) < MIN_KEY_LENGTH:
        raise SessionKeyError(
            f"{KEY_VARIABLE} has {len(given)} characters; it takes {MIN_KEY_LENGTH} or more"
        )
    return given.encode()


class Sessions:
    """Makes and checks session values; `find` gives the token in force of an id."""

    def __init__(
        self, key: bytes, find: Callable[[str], Awaitable[Token | None]], now_s: Callable[[], float]
    ) -> None:
        self._key = key
        self._find = find
        self._now_s = now_s

    def open(self, token: Token) -> tuple[str, Session]:
        """Return the value of a new session, and the session."""
        expires_s = int(self._now_s()) + LASTS_S
        mac = self._mac(token.token_id, str(expires_s), token.secret_sha256)
        return f"{token.token_id}.{expires_s}.{mac}", Session(token, expires_s)

    async def check(self, value: str) -> Session | None:
        """Return the session of a value, None when it is none, is over, or its token is revoked.

        Raises StoreError when that cannot be told. What is wrong makes no difference in time.
        """
        match = _VALUE.fullmatch(value)
        if match is None:
            return None
        token_id, expires, mac = match.groups()
        token = await self._find(token_id)
        due = self._mac(token_id, expires, token.secret_sha256 if token else _NO_HASH)
        same = hmac.compare_digest(mac, due)
        return Session(token, int(expires)) if same and token and int(expires) > self._now_s() else None

    def _mac(self, token_id: str, expires: str, secret_sha256: str) -> str:
        text = f"page session 1|{token_id}|{expires}|{secret_sha256}"
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
