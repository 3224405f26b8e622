"""Runs one query and sends its reply: feeds data in, streams rows out, and notices when the client disconnects."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sys
import tempfile
from collections.abc import Coroutine
from typing import IO, Any

from endpoint_analytics.infra.local.clickhouse.body import Receive, RequestBody
from endpoint_analytics.infra.local.clickhouse.engine import QueryOutcome
from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError, refusal
from endpoint_analytics.infra.local.clickhouse.execution import Execution, kill_queries, start_query
from endpoint_analytics.infra.local.clickhouse.native import MIN_REVISION, BlockRewriter
from endpoint_analytics.infra.local.clickhouse.pipe import Feed, Pipe
from endpoint_analytics.infra.local.clickhouse.privileges import ANALYST_RESULT_BYTES
from endpoint_analytics.infra.local.clickhouse.query_pool import QueryPool
from endpoint_analytics.infra.local.clickhouse.query_text import ReceivedQuery
from endpoint_analytics.infra.local.clickhouse.request import QueryRequest
from endpoint_analytics.infra.local.clickhouse.response import Response
from endpoint_analytics.infra.local.clickhouse.statement import Kind, Statement

_log = logging.getLogger(__name__)

_FEED_BYTES = 1 << 20
_HELD_BYTES = 1 << 20
_SPOOL_BYTES = 1 << 23
_ANALYST_HELD_BYTES = 64 << 20


async def answer(
    pool: QueryPool,
    request: QueryRequest,
    query: ReceivedQuery,
    body: RequestBody,
    receive: Receive,
    reply: Response,
) -> None:
    """Run the query and reply. Raises ClickHouseError before the reply has begun, and ClientGoneError."""
    statement = query.statement
    if statement.kind is Kind.KILL:
        killed = await kill_queries(pool, request, statement)
        await reply.whole(killed.output, statement.format or request.default_format, killed)
        return
    execution = await start_query(pool, request, statement)
    if statement.kind is Kind.INSERT:
        await _insert(execution, query.data, body, reply, last=query.is_whole)
    else:
        await _run_watched(_query(execution, statement, request, reply), receive, statement.kind)


async def _insert(
    execution: Execution, data: bytes, body: RequestBody, reply: Response, *, last: bool
) -> None:
    """Feed the engine the incoming data, and acknowledge once it reports that everything is stored."""
    feed = Feed()
    stored = execution.insert(feed)
    feeding = asyncio.ensure_future(_feed(feed, data, body, last=last))
    try:
        either: list[asyncio.Future[Any]] = [feeding, stored]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if feeding.done():
            await feeding
    finally:
        feeding.cancel()
        feed.close()
    await reply.whole(b"", "TabSeparated", await asyncio.shield(stored))


async def _feed(feed: Feed, data: bytes, body: RequestBody, *, last: bool) -> None:
    try:
        await feed.write(data)
        while not last:
            data, last = await body.read(_FEED_BYTES)
            await feed.write(data)
        await feed.finish()
    except BrokenPipeError:
        pass  # the engine ended early, and its error says why


async def _query(execution: Execution, statement: Statement, request: QueryRequest, reply: Response) -> None:
    result_format = statement.format or request.default_format
    future = execution.run(piped=statement.kind is Kind.RESULT)
    try:
        if execution.pipe is None:
            outcome = await asyncio.shield(future)
            await reply.whole(outcome.output, result_format, outcome)
        else:
            revised = result_format == "Native" and request.protocol_revision >= MIN_REVISION
            rows = Rows(execution.pipe, BlockRewriter() if revised else None, _most_bytes(request))
            held_bytes = sys.maxsize if request.wait_end_of_query else max(_HELD_BYTES, request.held_bytes)
            if request.analyst:  # held-back bytes are on the disk of the data
                held_bytes = min(held_bytes, _ANALYST_HELD_BYTES)
            await _rows(rows, future, result_format, reply, held_bytes, must_end=request.wait_end_of_query)
    except TimeoutError:
        _log.info("a client did not read its result; the query was stopped")
    finally:
        if statement.kind is Kind.RESULT:
            await asyncio.shield(execution.abandon(future))


def _most_bytes(request: QueryRequest) -> float:
    """Return the maximum size of an analyst's result: the engine's own check counts columns, not their text."""
    if not request.analyst:
        return math.inf
    asked = request.settings.get("max_result_bytes", "")
    known = asked.isdecimal() and len(asked) < len(str(sys.maxsize))  # otherwise the engine refuses it
    return min(int(asked), ANALYST_RESULT_BYTES) if known else ANALYST_RESULT_BYTES


class Rows:
    """The bytes of a result as sent to the client, at most `most_bytes`."""

    def __init__(self, pipe: Pipe, rewriter: BlockRewriter | None, most_bytes: float) -> None:
        self._pipe = pipe
        self._rewriter = rewriter
        self._most_bytes = self._left_bytes = most_bytes

    async def read(self) -> bytes:
        """Return the next bytes, empty at the end; raises ClickHouseError if there are too many."""
        data = await self._read()
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise refusal(396, f"Limit for result exceeded, max bytes: {self._most_bytes} as sent.")
        return data

    async def _read(self) -> bytes:
        if self._rewriter is None:
            return await self._pipe.read()
        while data := await self._pipe.read():
            if rewritten := await asyncio.to_thread(self._rewriter.feed, data):  # it inspects every value
                return rewritten
        return await asyncio.to_thread(self._rewriter.finish)


async def _rows(
    rows: Rows,
    future: asyncio.Future[QueryOutcome],
    result_format: str,
    reply: Response,
    held_bytes: int,
    *,
    must_end: bool,
) -> None:
    """Stream rows, holding back the first `held_bytes` so that an early error gets a proper error response.

    If the query `must_end` within those bytes and does not, it is refused.
    """
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as held:
        at_end = False
        while not at_end and held.tell() < held_bytes:
            piece = await rows.read()
            held.write(piece)
            at_end = not piece
        if must_end and not at_end:
            raise refusal(
                396, f"Limit for result exceeded: wait_end_of_query holds at most {held_bytes} bytes."
            )
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
        await reply.abort(error)
    else:
        await reply.finish()


async def _copy(held: IO[bytes], reply: Response) -> None:
    while piece := held.read(_HELD_BYTES):
        await reply.piece(piece)


async def _run_watched(answer: Coroutine[Any, Any, None], receive: Receive, kind: Kind) -> None:
    """Run an answer. If the client disconnects meanwhile, a query for rows is stopped; anything else continues."""
    answering = asyncio.ensure_future(answer)
    watching = asyncio.ensure_future(_wait_for_disconnect(receive))
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


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
