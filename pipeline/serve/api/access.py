"""Who asks, and what they may see: a bearer token, or the page's cookie from our own page. No figures here."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from endpoint_analytics.pipeline.serve.api.ask import AskError
from endpoint_analytics.pipeline.serve.bearer import read_bearer
from endpoint_analytics.pipeline.serve.page_session import Session, Sessions
from endpoint_analytics.pipeline.serve.same_site import is_same_site
from endpoint_analytics.pipeline.serve.token_book import TokenBook
from endpoint_analytics.pipeline.store.tokens import Token

COOKIE = "endpoint_analytics_session"
_HOW = "send 'Authorization: Bearer <token>', or sign in with POST /session"


@dataclass(frozen=True, slots=True)
class Access:
    """Checks tokens and sessions."""

    tokens: TokenBook
    sessions: Sessions

    async def token(self, request: Request) -> Token:
        """Return the token that opens this request, its header before its cookie.

        Raises AskError (401; 403 for a cookie that another site made a browser send) and StoreError.
        """
        presented = read_bearer(request.headers)
        if presented is None:
            return (await self.session(request)).token
        return await self.checked(presented, "header Authorization")

    async def checked(self, presented: str, where: str) -> Token:
        """Return the token in force that was presented; raises AskError (401) and StoreError."""
        token = await self.tokens.check(presented) if presented else None
        if token is None:
            raise AskError("this token is unknown or revoked", where, "send a token that is in force", 401)
        return token

    async def session(self, request: Request) -> Session:
        """Return the session of the request's cookie; raises AskError and StoreError."""
        value = request.cookies.get(COOKIE)
        if value is None:
            raise AskError("no token was sent", "header Authorization", _HOW, 401)
        refuse_other_sites(request, changes=False)
        session = await self.sessions.check(value)
        if session is None:
            raise AskError("this session is over", f"cookie {COOKIE}", "sign in again", 401)
        return session

    async def opened(self, request: Request, namespace: str) -> Token:
        """Return the token if it opens the namespace; raises AskError (401, 403) and StoreError."""
        token = await self.token(request)
        if not token.opens(namespace):
            raise AskError(
                "this token is for another namespace",
                f"namespace {namespace[:128]}",
                "use a token that was made for it",
                403,
            )
        return token


def refuse_other_sites(request: Request, *, changes: bool) -> None:
    """Raise AskError (403) for a request that another site made a browser send."""
    if not is_same_site(request.headers, changes=changes):
        raise AskError(
            "this request comes from another site",
            "headers Origin and Sec-Fetch-Site",
            "a program elsewhere sends a token, not a cookie",
            403,
        )
