"""The ASGI application: routing, authentication, and one query from request to reply."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import MutableMapping
from functools import partial
from typing import Any

from endpoint_analytics.infra.local.clickhouse.accounts import Account, find_account
from endpoint_analytics.infra.local.clickhouse.answer import answer
from endpoint_analytics.infra.local.clickhouse.body import ClientGoneError, Receive, RequestBody
from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError, refusal
from endpoint_analytics.infra.local.clickhouse.multipart import is_form
from endpoint_analytics.infra.local.clickhouse.origin import refusal_reason
from endpoint_analytics.infra.local.clickhouse.passwords import ANALYST, WRITER
from endpoint_analytics.infra.local.clickhouse.query_pool import QueryPool
from endpoint_analytics.infra.local.clickhouse.query_text import read_form, read_query, receive_analyst_body
from endpoint_analytics.infra.local.clickhouse.request import (
    Credentials,
    ReplyOptions,
    parse_credentials,
    parse_headers,
    parse_query_string,
    parse_request,
    restrict_to_analyst,
    wants_blocks,
)
from endpoint_analytics.infra.local.clickhouse.response import Response, Send
from endpoint_analytics.infra.local.clickhouse.start import ServerSettings

_log = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST"})
_HEALTH = frozenset({"/ping", "/replicas_status"})


class Application:
    """ClickHouse's HTTP interface on top of a query pool."""

    def __init__(self, pool: QueryPool, service: ServerSettings) -> None:
        self._pool = pool
        self._service = service

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        has_query = method == "POST" or b"query=" in scope["query_string"]
        refused = refusal_reason(
            parse_headers(scope["headers"]), self._service.host, self._service.allowed_hosts
        )
        if refused:
            await _plain(send, 403, f"{refused}\n".encode())
        elif method not in _METHODS:
            await _plain(send, 405, b"Only GET, HEAD and POST are served.\n", (b"allow", b"GET, HEAD, POST"))
        elif path in _HEALTH or (path == "/" and not has_query):
            await _plain(send, 200, b"Ok.\n")
        elif path != "/":
            await _plain(
                send, 404, f"There is no handle {path}\n\nUse / or /ping for health checks.\n".encode()
            )
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        engine = self._pool.engine
        headers = {
            "X-ClickHouse-Server-Display-Name": engine.display_name,
            "X-ClickHouse-Timezone": engine.timezone,
            "X-ClickHouse-Query-Id": str(uuid.uuid4()),
        }
        stall_s = self._service.stall_timeout_s
        reply = Response(send, headers, engine.version, stall_s)
        body = RequestBody(receive, stall_s)
        try:
            header = parse_headers(scope["headers"])
            account = self._authenticate(parse_credentials(scope["query_string"], header))
            analyst = account.reads_only
            # From here on, as in ClickHouse: a wrong password is refused in plain text.
            reply = Response(
                send,
                headers,
                engine.version,
                stall_s,
                ReplyOptions(blocks=wants_blocks(scope["query_string"])),
            )
            form = is_form(header.get("content-type", ""))
            async with contextlib.AsyncExitStack() as slots:
                if analyst:
                    await receive_analyst_body(self._pool, body, slots, stall_s, is_form=form)
                await slots.enter_async_context(self._pool.turn(analyst=analyst))
                url = scope["query_string"]
                given = await self._pool.scan(partial(parse_query_string, url), len(url), analyst=analyst)
                given["query_id"] = given.get("query_id") or headers["X-ClickHouse-Query-Id"]
                parts = (scope["method"], account.user, given, header)
                request = parse_request(*parts)
                headers["X-ClickHouse-Query-Id"] = request.query_id
                body.decode(request.content_encoding)
                reply = Response(send, headers, engine.version, stall_s, request.reply)
                if form:
                    request = await read_form(self._pool, body, request.content_type, parts, analyst=analyst)
                if analyst:
                    request = restrict_to_analyst(request)
                query = await read_query(self._pool, request, body)
            await answer(self._pool, request, query, body, receive, reply)
        except ClickHouseError as error:
            with contextlib.suppress(ClickHouseError, ClientGoneError):
                await body.drain()
            await reply.error(error, is_last=not body.complete)
        except ClientGoneError:
            _log.debug("a client disconnected during its request")
        except Exception:  # noqa: BLE001 - a bug: reported to the client and logged, and the server continues
            _log.exception("a request failed")
            if not reply.begun:
                await reply.error(refusal(1001, "The server failed; see its log."))

    def _authenticate(self, given: Credentials) -> Account:
        """Return the account; a wrong name and a wrong password raise the same error."""
        account = find_account(self._service.accounts, given.user, given.password)
        if account is None:
            raise refusal(
                516,
                f"{given.user}: Authentication failed: wrong password, or no such user. The passwords of a data "
                f"directory's users are in the files *.{WRITER}-password and *.{ANALYST}-password next to it.",
            )
        return account


async def _plain(send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [
        *more,
        (b"content-type", b"text/plain; charset=UTF-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
