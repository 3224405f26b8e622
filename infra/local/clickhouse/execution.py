"""One running query: its slot, its handle or session, and its calls into the ClickHouse engine.

Whatever happens to the request, this module ensures that the query ends, the handle is closed and the slot
is released.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

from endpoint_analytics.infra.local.clickhouse.admission_queue import Slot
from endpoint_analytics.infra.local.clickhouse.engine import Handle, QueryOutcome, quote, quote_name
from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError, refusal
from endpoint_analytics.infra.local.clickhouse.pipe import Feed, Pipe, memory_file
from endpoint_analytics.infra.local.clickhouse.query_pool import QueryPool, RunningQuery
from endpoint_analytics.infra.local.clickhouse.query_tag import tag
from endpoint_analytics.infra.local.clickhouse.request import QueryRequest
from endpoint_analytics.infra.local.clickhouse.session import EngineSession
from endpoint_analytics.infra.local.clickhouse.statement import Kind, Statement, unknown_beginning

_KILL_AGAIN_S = 0.1
_REPLACED_WITHIN_S = 5.0
_FOUND_WITHIN_S = "2"
_CUT_OFF = 354  # ZLIB_INFLATE_FAILED


async def start_query(pool: QueryPool, request: QueryRequest, statement: Statement) -> Execution:
    """Acquire a slot, the query ID, and the session if any, for one statement; raises ClickHouseError."""
    if request.readonly and statement.kind in (Kind.INSERT, Kind.COMMAND):
        # Checked before waiting for data, and not left to the engine: a session's handle cannot be made readonly for a
        # single request, and to the engine all queries belong to one user, who may always kill their own.
        if word := unknown_beginning(statement.head):
            raise refusal(62, f"Syntax error: no statement begins with {word!r}.")
        raise refusal(164, "Cannot execute query in readonly mode.")
    slot = await pool.enter(analyst=request.analyst)
    try:
        await _take_query_id(pool, request)
        session = None
        if request.session is not None:
            session = pool.sessions.acquire(request.session, request.user, time.monotonic())
        return Execution(pool, request, statement, slot, session)
    except BaseException:
        slot.leave()
        raise


async def _take_query_id(pool: QueryPool, request: QueryRequest) -> None:
    """Raise ClickHouseError 216 if a query with this ID is running and does not end."""
    replaces = request.replaces_running and pool.is_of(request.query_id, request.user)
    given_up_at = time.monotonic() + (_REPLACED_WITHIN_S if replaces else 0)
    while request.query_id in pool.running:
        if time.monotonic() >= given_up_at:
            raise refusal(216, f"Query with id = {request.query_id} is already running.")
        await pool.kill(request.query_id)
        await asyncio.sleep(_KILL_AGAIN_S)


async def kill_queries(pool: QueryPool, request: QueryRequest, statement: Statement) -> QueryOutcome:
    """Run a KILL QUERY without waiting for a slot, since the queries to kill may hold all of them.

    A read-only account can end only its own queries. Raises ClickHouseError.
    """
    async with pool.turn(analyst=request.analyst):
        return await _kill_queries(pool, request, statement)


async def _kill_queries(pool: QueryPool, request: QueryRequest, statement: Statement) -> QueryOutcome:
    if request.readonly > 1:
        raise refusal(164, "Cannot execute query in readonly mode.")
    of_user = f" AND user = {quote(request.user)}" if request.readonly else ""
    text = statement.head + of_user.encode()

    def find() -> tuple[list[str], QueryOutcome]:
        handle = pool.engine.open(analyst=request.analyst)
        try:
            parameters = {f"param_{name}": value for name, value in request.parameters.items()}
            limits = {"max_execution_time": _FOUND_WITHIN_S, "readonly": "1"}
            handle.set({**request.settings, **parameters, **limits})
            rows = handle.execute(text, "JSONCompactEachRow").output.splitlines()
            shown = handle.execute(text, statement.format or request.default_format)
            return [json.loads(row)[1] for row in rows], shown
        finally:
            handle.close()

    query_ids, shown = await pool.in_short_thread(find, analyst=request.analyst)
    if request.readonly:
        # The engine's view parses the query's text, which could contain a forged tag.
        query_ids = [one for one in query_ids if pool.is_of(one, request.user)]
    again = statement.mode != "TEST"
    while again:
        for query_id in query_ids:
            await pool.kill(query_id)
        again = statement.mode == "SYNC" and not pool.running.keys().isdisjoint(query_ids)
        if again:
            await asyncio.sleep(_KILL_AGAIN_S)
    return shown


class Execution:
    """One statement that runs in the engine."""

    def __init__(
        self,
        pool: QueryPool,
        request: QueryRequest,
        statement: Statement,
        slot: Slot,
        session: EngineSession | None,
    ) -> None:
        self._pool = pool
        self._request = request
        self._statement = statement
        self._slot = slot
        self._session = session
        self._handle: Handle | None = None
        self._mark = tag(request.query_id, request.user)
        self.pipe: Pipe | None = None
        self._running = pool.running[request.query_id] = RunningQuery(request.user)

    def run(self, *, piped: bool) -> asyncio.Future[QueryOutcome]:
        """Run a statement that needs no data, in a thread; its rows go into `pipe` if `piped`.

        Everything is released when the future is done.
        """
        pipe = self.pipe = Pipe() if piped else None

        def job() -> QueryOutcome:
            try:
                handle = self._open()
                if pipe is None:
                    text = self._statement.head + f"\n/*{self._mark}*/".encode()
                    return handle.execute(text, self._request.default_format)
                text = self._statement.into(pipe.path, self._request.default_format, self._mark)
                return handle.execute(text)
            finally:
                try:
                    self._close()
                finally:
                    if pipe is not None:
                        pipe.close_writing()

        future = self._pool.in_thread(job)
        future.add_done_callback(lambda _: self._end())
        return future

    def insert(self, feed: Feed) -> asyncio.Future[QueryOutcome]:
        """Run an INSERT in a thread; its data arrives through `feed`.

        Everything is released when the future is done, and the feed is closed.
        """

        self._running.feed = feed

        def job() -> QueryOutcome:
            try:
                text = self._statement.from_file(feed.path, feed.COMPRESSION, self._mark)
                return self._open().execute(text)
            except ClickHouseError as error:
                if error.code == _CUT_OFF and not feed.complete:
                    raise refusal(394, "Query was cancelled.") from None
                raise
            finally:
                try:
                    self._close()
                finally:
                    feed.close_reading()

        future = self._pool.in_thread(job)
        future.add_done_callback(lambda _: self._end())
        return future

    async def abandon(self, future: asyncio.Future[QueryOutcome]) -> None:
        """Stop a running query whose rows are no longer wanted, and wait until it has stopped."""
        if self.pipe is not None:
            self.pipe.close_reading()
        while not future.done():
            await self._pool.kill(self._request.query_id)
            await asyncio.wait([future], timeout=_KILL_AGAIN_S)
        future.exception()

    def _open(self) -> Handle:
        request = self._request
        comment = {"log_comment": self._mark + request.settings.get("log_comment", "")}
        settings = {**request.settings, **comment}
        parameters = {f"param_{name}": value for name, value in request.parameters.items()}
        if self._session is not None:
            self._handle = self._session.handle
            self._session.enter(settings, parameters, request.database)
            self._create_tables(self._handle)
            return self._handle
        handle = self._handle = self._pool.engine.open(analyst=request.analyst)
        handle.set({**settings, **parameters})
        if request.database:
            handle.use(request.database)
        self._create_tables(handle)
        if request.readonly:
            handle.set({"readonly": str(request.readonly)})
        return handle

    def _create_tables(self, handle: Handle) -> None:
        """Create the tables sent with the query; on a session's handle they are dropped afterwards."""
        for table in self._request.tables:
            name = quote_name(table.name)
            handle.execute(f"CREATE TEMPORARY TABLE {name} ({table.structure}\n) ENGINE = Memory".encode())
            with memory_file(table.data) as path:
                source = f"FROM INFILE '{path}' COMPRESSION 'none' FORMAT {table.data_format}"
                handle.execute(f"INSERT INTO {name} {source}".encode())

    def _drop_tables(self, handle: Handle) -> None:
        for table in self._request.tables:
            with contextlib.suppress(ClickHouseError):
                handle.execute(f"DROP TEMPORARY TABLE IF EXISTS {quote_name(table.name)}".encode())

    def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if self._session is None:
            handle.close()
        else:
            self._drop_tables(handle)
            with contextlib.suppress(ClickHouseError):
                self._session.leave(changed=self._statement.kind is Kind.SESSION)

    def _end(self) -> None:
        self._pool.running.pop(self._request.query_id, None)
        if self._session is not None:
            session, self._session = self._session, None
            ticket = self._request.session
            close = ticket is not None and ticket.close_after
            self._pool.sessions.release(session, time.monotonic(), close=close)
        self._slot.leave()
