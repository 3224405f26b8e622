"""The ASGI application: routes, authentication, and one query from its request to its reply."""

from __future__ import annotations

import contextlib
import hmac
import logging
import uuid
from collections.abc import MutableMapping
from typing import Any

from endpoint_analytics.infra.clickhouse.answer import MAX_QUERY_BYTES, answer
from endpoint_analytics.infra.clickhouse.body import Body, ClientGoneError, Receive
from endpoint_analytics.infra.clickhouse.errors import ClickHouseError, refusal
from endpoint_analytics.infra.clickhouse.form import is_form, parse_form
from endpoint_analytics.infra.clickhouse.reply import Reply, Send
from endpoint_analytics.infra.clickhouse.request import (
    Credentials,
    parse_headers,
    parse_query_string,
    parse_request,
)
from endpoint_analytics.infra.clickhouse.workshop import Workshop

_log = logging.getLogger(__name__)

_HEALTH = frozenset({"/ping", "/replicas_status"})


class Application:
    """ClickHouse's HTTP interface over a workshop."""

    def __init__(self, workshop: Workshop, user: str, password: str) -> None:
        self._workshop = workshop
        self._user = user.encode()
        self._password = password.encode()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        asks = method == "POST" or b"query=" in scope["query_string"]
        if path in _HEALTH or (path == "/" and not asks):
            await _plain(send, 200, b"Ok.\n")
        elif path != "/":
            await _plain(
                send, 404, f"There is no handle {path}\n\nUse / or /ping for health checks.\n".encode()
            )
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        engine = self._workshop.engine
        headers = {
            "X-ClickHouse-Server-Display-Name": engine.display_name,
            "X-ClickHouse-Timezone": engine.timezone,
            "X-ClickHouse-Query-Id": str(uuid.uuid4()),
        }
        reply = Reply(send, headers, engine.version)
        body = Body(receive, "")
        try:
            given, header = parse_query_string(scope["query_string"]), parse_headers(scope["headers"])
            request = parse_request(scope["method"], given, header)
            if request.query_id:
                headers["X-ClickHouse-Query-Id"] = request.query_id
            body = Body(receive, request.content_encoding)
            reply = Reply(send, headers, engine.version, request.accept_encoding)
            self._authenticate(request.credentials)
            if is_form(request.content_type):
                form = parse_form(request.content_type, await _whole(body))
                request = parse_request(scope["method"], given, header, form)
            await answer(self._workshop, request, body, receive, reply)
        except ClickHouseError as error:
            with contextlib.suppress(ClickHouseError, ClientGoneError):
                await body.drain()
            await reply.error(error)
        except ClientGoneError:
            _log.debug("a client went away during its request")
        except Exception:  # noqa: BLE001 - a bug of ours: told to the client and logged, the server goes on
            _log.exception("a request failed")
            if not reply.begun:
                await reply.error(refusal(1001, "The server failed; its log tells more."))

    def _authenticate(self, given: Credentials) -> None:
        """Compare in constant time; the same error for a wrong name and for a wrong password."""
        user = hmac.compare_digest(given.user.encode(errors="replace"), self._user)
        password = hmac.compare_digest(given.password.encode(errors="replace"), self._password)
        if not (user and password):
            raise refusal(
                516,
                f"{given.user}: Authentication failed: wrong password, or no such user.",
            )


async def _whole(body: Body) -> bytes:
    data, last = await body.read(MAX_QUERY_BYTES)
    if not last:
        raise refusal(229, f"The form is too large: more than {MAX_QUERY_BYTES} bytes.")
    return data


async def _plain(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=UTF-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
