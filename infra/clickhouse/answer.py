"""One query from its text to its reply: data are fed, rows are sent, a client that has gone is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import Coroutine
from typing import IO, Any

from endpoint_analytics.infra.clickhouse.body import Body, Receive
from endpoint_analytics.infra.clickhouse.engine import Outcome
from endpoint_analytics.infra.clickhouse.errors import ClickHouseError, refusal
from endpoint_analytics.infra.clickhouse.native import MIN_REVISION, BlockRewriter
from endpoint_analytics.infra.clickhouse.pipe import Pipe
from endpoint_analytics.infra.clickhouse.reply import Reply
from endpoint_analytics.infra.clickhouse.request import Request
from endpoint_analytics.infra.clickhouse.statement import Kind, Statement, parse_statement
from endpoint_analytics.infra.clickhouse.work import Work, start_work
from endpoint_analytics.infra.clickhouse.workshop import Workshop

_log = logging.getLogger(__name__)

_HEAD_BYTES = 1 << 18  # ClickHouse's max_query_size: an INSERT's head is looked for in this much
MAX_QUERY_BYTES = 1 << 26
_FEED_BYTES = 1 << 20
_HELD_BYTES = 1 << 20
_SPOOL_BYTES = 1 << 23


async def answer(workshop: Workshop, request: Request, body: Body, receive: Receive, reply: Reply) -> None:
    """Read the query, run it, reply; raises ClickHouseError before the reply is begun, ClientGoneError."""
    text = request.query + b"\n" if request.query else b""
    more, last = await body.read(_HEAD_BYTES)
    text += more
    statement = parse_statement(text)
    while not last and statement.kind is not Kind.INSERT:
        if len(text) > MAX_QUERY_BYTES:
            raise refusal(229, f"Query is too large: more than {MAX_QUERY_BYTES} bytes.")
        more, last = await body.read(MAX_QUERY_BYTES)
        text += more
        if last:
            statement = parse_statement(text)
    work = await start_work(workshop, request, statement)
    if statement.kind is Kind.INSERT:
        await _insert(work, text[statement.data_at :], body, reply, last=last)
    else:
        await _watched(_query(work, statement, request, reply), receive, statement.kind)


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
