"""Who asks, and what they may see: a bearer token, or the page's cookie from our own page. No figures here."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from endpoint_analytics.pipeline.serve.access.bearer import read_bearer
from endpoint_analytics.pipeline.serve.access.page_session import Session, Sessions
from endpoint_analytics.pipeline.serve.access.rate import Rate
from endpoint_analytics.pipeline.serve.access.same_site import is_https, is_same_site
from endpoint_analytics.pipeline.serve.access.token_cache import TokenCache
from endpoint_analytics.pipeline.serve.api.query import QueryError
from endpoint_analytics.pipeline.store.tokens import Token

COOKIE = "endpoint_analytics_session"
HOST_COOKIE = f"__Host-{COOKIE}"
"""Over https: browsers take it from this host alone, over https alone, and from no other host of its domain."""
_HOW = "send 'Authorization: Bearer <token>', or sign in with POST /session"


@dataclass(frozen=True, slots=True)
class Access:
    """Checks tokens and sessions; `failures` are sign-ins that failed, by address, `openings` sessions, by token."""

    tokens: TokenCache
    sessions: Sessions
    failures: Rate
    openings: Rate

    async def token(self, request: Request) -> Token:
        """Return the token that opens this request, its header before its cookie.

        Raises QueryError (401; 403 for a cookie that another site made a browser send) and StoreError.
        """
        presented = read_bearer(request.headers)
        if presented is None:
            return (await self.session(request)).token
        return await self.checked(presented, "header Authorization")

    async def checked(self, presented: str, where: str) -> Token:
        """Return the token in force that was presented; raises QueryError (401) and StoreError."""
        token = await self.tokens.check(presented) if presented else None
        if token is None:
            raise _unknown(where)
        return token

    async def signs_in(self, request: Request, presented: str) -> Token:
        """Return the token in force that was presented for a session; raises QueryError (401, 429) and StoreError.

        An address from which too much was wrong is refused without a query and without a wait. A token that is right
        is not: behind a proxy, all have its address, and nobody shall keep the others out.
        """
        address = request.client.host if request.client else ""
        if self.failures.wait_s(address) > 0:
            token = await self.tokens.check(presented, again=False) if presented else None
            if token is None:
                raise _too_often("too many tokens that open nothing came from this address")
        else:
            token = await self._one_of_few(address, presented)
        if self.openings.wait_s(token.token_id):
            raise _too_often("too many sessions were opened with this token")
        self.openings.count(token.token_id)
        return token

    async def _one_of_few(self, address: str, presented: str) -> Token:
        """Return the token in force that was presented; raises QueryError (401) and StoreError.

        It is a failure until it is known to be none, so that of many at the same time no more are tried.
        """
        self.failures.count(address)
        is_wrong = False
        try:
            token = await self.tokens.check(presented) if presented else None
            is_wrong = token is None
        finally:
            if not is_wrong:
                self.failures.take_back(address)
        if token is None:
            raise _unknown("body")
        return token

    async def session(self, request: Request) -> Session:
        """Return the session of the request's cookie; raises QueryError and StoreError."""
        name = cookie_name(request)
        value = request.cookies.get(name)
        if value is None:
            raise QueryError("no token was sent", "header Authorization", _HOW, 401)
        refuse_other_sites(request, changes=False)
        session = await self.sessions.check(value)
        if session is None:
            raise QueryError("this session is over", f"cookie {name}", "sign in again", 401)
        return session

    async def opened(self, request: Request, namespace: str) -> Token:
        """Return the token if it opens the namespace; raises QueryError (401, 403) and StoreError."""
        token = await self.token(request)
        if not token.opens(namespace):
            raise QueryError(
                "this token is for another namespace",
                f"namespace {namespace[:128]}",
                "use a token that was made for it",
                403,
            )
        return token


def cookie_name(request: Request) -> str:
    """Return the name of the cookie that the page has: over https, no other is read."""
    return HOST_COOKIE if is_https(request.url.scheme, request.headers) else COOKIE


def _unknown(where: str) -> QueryError:
    return QueryError("this token is unknown or revoked", where, "send a token that is in force", 401)


def _too_often(what: str) -> QueryError:
    return QueryError(what, "POST /session", "wait as long as Retry-After says, and sign in again", 429)


def refuse_other_sites(request: Request, *, changes: bool) -> None:
    """Raise QueryError (403) for a request that another site made a browser send."""
    if not is_same_site(request.headers, changes=changes):
        raise QueryError(
            "this request comes from another site",
            "headers Origin and Sec-Fetch-Site",
            "a program elsewhere sends a token, not a cookie",
            403,
        )
