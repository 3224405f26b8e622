"""Reads the token from a request's headers. `token_cache` looks it up, and `store.tokens.verify` compares it."""

from __future__ import annotations

from starlette.datastructures import Headers

MAX_CREDENTIALS = 512
NOT_BEARER = "the header Authorization is not one 'Bearer <token>'"
"""What to say of "": the word is missing, it is another scheme, or there are two headers."""


def read_bearer(headers: Headers) -> str | None:
    """Return the token of the only Authorization header, "" if it has none, and None without such a header.

    Two headers count as no token, because proxies disagree about which one wins. Query strings and cookies are
    never read.
    """
    found = headers.getlist("authorization")
    if not found:
        return None
    if len(found) > 1 or len(found[0]) > MAX_CREDENTIALS:
        return ""
    scheme, _, token = found[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
