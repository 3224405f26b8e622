"""The ASGI application: routes, authentication, and one query from its request to its reply."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import tempfile
import uuid
from collections.abc import Coroutine, MutableMapping
from typing import IO, Any

from endpoint_analytics.infra.clickhouse.body import Body, ClientGoneError, Receive
from endpoint_analytics.infra.clickhouse.engine import Outcome
from endpoint_analytics.infra.clickhouse.errors import ClickHouseError, refusal
from endpoint_analytics.infra.clickhouse.form import is_form, parse_form
from endpoint_analytics.infra.clickhouse.native import MIN_REVISION, BlockRewriter
from endpoint_analytics.infra.clickhouse.pipe import Pipe
from endpoint_analytics.infra.clickhouse.reply import Reply, Send
from endpoint_analytics.infra.clickhouse.request import (
    Credentials,
    Request,
    parse_headers,
    parse_query_string,
    parse_request,
)
from endpoint_analytics.infra.clickhouse.statement import Kind, Statement, parse_statement
from endpoint_analytics.infra.clickhouse.work import Work, Workshop

_log = logging.getLogger(__name__)

_HEAD_BYTES = 1 << 18  # ClickHouse's max_query_size: an INSERT's head is looked for in this much
_QUERY_BYTES = 1 << 26
_FEED_BYTES = 1 << 20
_HELD_BYTES = 1 << 20
_SPOOL_BYTES = 1 << 23
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
            await self._answer(request, body, receive, reply)
        except ClickHouseError as error:
            with contextlib.suppress(ClickHouseError, ClientGoneError):
                await body.drain()
            await reply.error(error)
        except ClientGoneError:
            _log.debug("a client went away during its request")

    def _authenticate(self, given: Credentials) -> None:
        """Compare in constant time; the same error for a wrong name and for a wrong password."""
        user = hmac.compare_digest(given.user.encode(errors="replace"), self._user)
        password = hmac.compare_digest(given.password.encode(errors="replace"), self._password)
        if not (user and password):
            raise refusal(
                516,
                f"{given.user}: Authentication failed: wrong password, or no such user.",
            )

    async def _answer(self, request: Request, body: Body, receive: Receive, reply: Reply) -> None:
        text = request.query + b"\n" if request.query else b""
        more, last = await body.read(_HEAD_BYTES)
        text += more
        statement = parse_statement(text)
        while not last and statement.kind is not Kind.INSERT:
            if len(text) > _QUERY_BYTES:
                raise refusal(229, f"Query is too large: more than {_QUERY_BYTES} bytes.")
            more, last = await body.read(_QUERY_BYTES)
            text += more
            if last:
                statement = parse_statement(text)
        work = await self._workshop.start(request, statement)
        if statement.kind is Kind.INSERT:
            await _insert(work, text[statement.data_at :], body, reply, last=last)
        else:
            await _watched(_query(work, statement, request, reply), receive, statement.kind)


async def _whole(body: Body) -> bytes:
    data, last = await body.read(_QUERY_BYTES)
    if not last:
        raise refusal(229, f"The form is too large: more than {_QUERY_BYTES} bytes.")
    return data


async def _insert(work: Work, data: bytes, body: Body, reply: Reply, *, last: bool) -> None:
    """Feed the engine what comes, and acknowledge when it is stored."""
    while not last:
        try:
            more, last = await body.read(_FEED_BYTES - min(len(data), _FEED_BYTES - 1))
        except BaseException:
            work.give_up()
            raise
        data += more
        if not last:
            await work.insert(data, last=False)
            data = b""
    outcome = await work.insert(data, last=True)
    await reply.whole(b"", "TabSeparated", outcome)


async def _query(work: Work, statement: Statement, request: Request, reply: Reply) -> None:
    result_format = statement.format or request.default_format
    future = work.run(piped=statement.kind is Kind.RESULT)
    try:
        if work.pipe is None:
            outcome = await asyncio.shield(future)
            await reply.whole(outcome.output, result_format, outcome)
        else:
            revised = result_format == "Native" and request.protocol_revision >= MIN_REVISION
            rows = Rows(work.pipe, BlockRewriter() if revised else None)
            await _rows(rows, future, result_format, reply, spool=request.wait_end_of_query)
    except TimeoutError:
        _log.info("a client did not take its result; the query was stopped")
    finally:
        if statement.kind is Kind.RESULT:
            await asyncio.shield(work.abandon(future))


class Rows:
    """The bytes of a result as the client is to get them."""

    def __init__(self, pipe: Pipe, rewriter: BlockRewriter | None) -> None:
        self._pipe = pipe
        self._rewriter = rewriter

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        if self._rewriter is None:
            return await self._pipe.read()
        while data := await self._pipe.read():
            if rewritten := self._rewriter.feed(data):
                return rewritten
        return self._rewriter.finish()


async def _rows(
    rows: Rows, future: asyncio.Future[Outcome], result_format: str, reply: Reply, *, spool: bool
) -> None:
    """Send rows as they come; hold back the first of them, so that an early error is a clean error."""
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as held:
        at_end = False
        while not at_end and (spool or held.tell() < _HELD_BYTES):
            piece = await rows.read()
            held.write(piece)
            at_end = not piece
        size = held.tell()
        held.seek(0)
        if at_end:
            outcome = await asyncio.shield(future)
            if size < _SPOOL_BYTES:
                await reply.whole(held.read(), result_format, outcome)
                return
        await reply.begin(result_format, size if at_end else None)
        await _copy(held, reply)
    try:
        while not at_end:
            piece = await rows.read()
            at_end = not piece
            if piece:
                await reply.piece(piece)
        await asyncio.shield(future)
    except ClickHouseError as error:
        await reply.break_off(error)
    else:
        await reply.finish()


async def _copy(held: IO[bytes], reply: Reply) -> None:
    while piece := held.read(_HELD_BYTES):
        await reply.piece(piece)


async def _watched(answer: Coroutine[Any, Any, None], receive: Receive, kind: Kind) -> None:
    """Run an answer; when the client goes away meanwhile, a query for rows is stopped, all else goes on."""
    answering = asyncio.ensure_future(answer)
    watching = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait([answering, watching], return_when=asyncio.FIRST_COMPLETED)
        if not answering.done() and kind is Kind.RESULT:
            answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answering
            return
        await answering
    finally:
        watching.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _plain(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=UTF-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
