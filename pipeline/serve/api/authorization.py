"""Who is asking and what they may see: a bearer token, or the cookie from our own page. No figures here."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from endpoint_analytics.pipeline.serve.access.bearer import NOT_BEARER, read_bearer
from endpoint_analytics.pipeline.serve.access.page_session import PageSessions, SignedIn
from endpoint_analytics.pipeline.serve.access.rate_limit import RateLimit
from endpoint_analytics.pipeline.serve.access.same_site import is_https, is_same_site
from endpoint_analytics.pipeline.serve.access.token_cache import TokenCache
from endpoint_analytics.pipeline.serve.api.query import QueryError
from endpoint_analytics.pipeline.store.tokens import AccessToken

COOKIE = "endpoint_analytics_session"
HOST_COOKIE = f"__Host-{COOKIE}"
"""Over https: browsers accept it only from this host and only over https, not from other hosts of its domain."""
_HOW = "send 'Authorization: Bearer <token>', or sign in with POST /session"


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """Checks tokens and sessions. `failures` limits failed sign-ins by address, `openings` new sessions by token."""

    tokens: TokenCache
    sessions: PageSessions
    failures: RateLimit
    openings: RateLimit

    async def token(self, request: Request) -> AccessToken:
        """Return the token of this request; the header takes precedence over the cookie.

        Raises QueryError (401; 403 for a cookie on a cross-site request) and StoreError.
        """
        presented = read_bearer(request.headers)
        if presented is None:
            return (await self.session(request)).token
        if not presented:
            raise QueryError(NOT_BEARER, "header Authorization", _HOW, 401)
        return await self.checked(presented, "header Authorization")

    async def checked(self, presented: str, where: str) -> AccessToken:
        """Return the presented token if it is active; raises QueryError (401) and StoreError."""
        token = await self.tokens.check(presented) if presented else None
        if token is None:
            raise _unknown(where)
        return token

    async def signs_in(self, request: Request, presented: str) -> AccessToken:
        """Return the token presented to sign in if it is active; raises QueryError (401, 429) and StoreError.

        An address with too many failures is refused without a query and without a wait. A valid token still works:
        behind a proxy all clients share its address, and none of them should lock out the others.
        """
        address = request.client.host if request.client else ""
        if self.failures.wait_s(address) > 0:
            token = await self.tokens.check(presented, again=False) if presented else None
            if token is None:
                raise _too_often("too many invalid tokens were sent from this address")
        else:
            token = await self._check_counted(address, presented)
        if self.openings.wait_s(token.token_id):
            raise _too_often("too many sessions were opened with this token")
        self.openings.count(token.token_id)
        return token

    async def _check_counted(self, address: str, presented: str) -> AccessToken:
        """Return the presented token if it is active; raises QueryError (401) and StoreError.

        It counts as a failure until it is found valid, so that concurrent attempts cannot exceed the limit.
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

    async def session(self, request: Request) -> SignedIn:
        """Return the session of the request's cookie; raises QueryError and StoreError."""
        name = cookie_name(request)
        value = request.cookies.get(name)
        if value is None and "authorization" in request.headers:
            raise QueryError("a token is not a session", f"cookie {name}", "sign in with POST /session", 401)
        if value is None:
            raise QueryError("no token was sent", "header Authorization", _HOW, 401)
        refuse_other_sites(request, changes=False)
        session = await self.sessions.check(value)
        if session is None:
            raise QueryError("this session has ended", f"cookie {name}", "sign in again", 401)
        return session

    async def opened(self, request: Request, namespace: str) -> AccessToken:
        """Return the token if it grants access to the namespace; raises QueryError (401, 403) and StoreError."""
        token = await self.token(request)
        if not token.opens(namespace):
            raise QueryError(
                "this token is for another namespace",
                f"namespace {namespace[:128]}",
                "use a token created for this namespace",
                403,
            )
        return token


def cookie_name(request: Request) -> str:
    """Return the name of the page's cookie; over https, only the `__Host-` one is read."""
    return HOST_COOKIE if is_https(request.url.scheme, request.headers) else COOKIE


def _unknown(where: str) -> QueryError:
    return QueryError("this token is unknown or revoked", where, "send an active token", 401)


def _too_often(what: str) -> QueryError:
    return QueryError(what, "POST /session", "wait for the time in Retry-After, then sign in again", 429)


def refuse_other_sites(request: Request, *, changes: bool) -> None:
    """Raise QueryError (403) for a cross-site request."""
    if not is_same_site(request.headers, changes=changes):
        raise QueryError(
            "this request comes from another site",
            "headers Origin and Sec-Fetch-Site",
            "from outside the page, send a token instead of the cookie",
            403,
        )
