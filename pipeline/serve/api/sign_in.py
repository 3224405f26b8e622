"""/session exchanges a token for a cookie. GET returns the current session, POST signs in, DELETE signs out."""

from __future__ import annotations

import asyncio
from http.cookies import SimpleCookie

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from endpoint_analytics.pipeline.serve.access.page_session import LIFETIME_S, SignedIn
from endpoint_analytics.pipeline.serve.access.same_site import is_https
from endpoint_analytics.pipeline.serve.api.authorization import ApiAccess, cookie_name, refuse_other_sites
from endpoint_analytics.pipeline.serve.api.json_responses import no_content, plain_reply
from endpoint_analytics.pipeline.serve.api.models import Session as SessionModel
from endpoint_analytics.pipeline.serve.api.models import SignIn
from endpoint_analytics.pipeline.serve.api.query import QueryError
from endpoint_analytics.pipeline.store.tokens import ALL_NAMESPACES

MAX_BODY_BYTES = 4096
BODY_WITHIN_S = 5.0
"""Less than an answer may take, so that a slow client is not told that ClickHouse is slow."""
_HINT = 'send {"token": "eat_..."} as application/json'


async def get_session(request: Request, access: ApiAccess) -> Response:
    """Answer GET: the session of the cookie."""
    return plain_reply(_model(await access.session(request)))


async def create_session(request: Request, access: ApiAccess) -> Response:
    """Answer POST: check the token in the body, set the cookie, and end the session of the cookie it replaces.

    Only application/json is accepted, because a form on another site cannot send it.
    """
    refuse_other_sites(request, changes=True)
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise QueryError("the body is not JSON", "header Content-Type", _HINT, 415)
    try:
        given = msgspec.json.decode(await _body(request), type=SignIn)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise QueryError(f"the body cannot be parsed: {error}", "body", _HINT) from error
    token = await access.signs_in(request, given.token)
    value, session = await access.sessions.open(token)
    if before := request.cookies.get(cookie_name(request)):
        await access.sessions.end(before)
    return plain_reply(_model(session), {"Set-Cookie": _cookie(request, value, LIFETIME_S)})


async def end_session(request: Request, access: ApiAccess) -> Response:
    """Answer DELETE: end the session and clear the cookie; raises StoreError if the session could not be ended."""
    refuse_other_sites(request, changes=True)
    if value := request.cookies.get(cookie_name(request)):
        await access.sessions.end(value)
    return no_content({"Set-Cookie": _cookie(request, "", 0)})


def _model(session: SignedIn) -> SessionModel:
    namespace = session.token.namespace
    every = namespace == ALL_NAMESPACES
    return SessionModel([] if every else [namespace], every, session.expires_s)


def _cookie(request: Request, value: str, max_age_s: int) -> str:
    name = cookie_name(request)
    morsel = SimpleCookie({name: value})[name]
    morsel["path"] = "/"
    morsel["max-age"] = max_age_s
    morsel["httponly"] = True
    morsel["samesite"] = "Strict"
    if is_https(request.url.scheme, request.headers):
        morsel["secure"] = True
    return morsel.OutputString()


async def _body(request: Request) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    raise QueryError(f"the body is longer than {MAX_BODY_BYTES} bytes", "body", _HINT, 413)
    except (TimeoutError, ClientDisconnect) as error:
        raise QueryError("the body did not arrive in time", "body", _HINT, 408) from error
    return body
