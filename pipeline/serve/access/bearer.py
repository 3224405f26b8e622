"""The token in a request's headers. Only reading it belongs here; checking it is the token book's work."""

from __future__ import annotations

from starlette.datastructures import Headers

MAX_CREDENTIALS = 512


def read_bearer(headers: Headers) -> str | None:
    """Return the token of the one Authorization header, "" when the header holds none, None without a header.

    Two headers hold none: which one counts would be a matter of taste between proxies. Query strings and
    cookies are never looked at.
    """
    found = headers.getlist("authorization")
    if not found:
        return None
    if len(found) > 1 or len(found[0]) > MAX_CREDENTIALS:
        return ""
    scheme, _, token = found[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
