"""One query at work: its place in the gate, its handle or session, and its calls into the engine.

The imperative middle: whatever happens to the request, it sees to it that the query ends, the handle is
closed and the place is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid

from endpoint_analytics.infra.clickhouse.engine import Handle, Insertion, Outcome, quote_name
from endpoint_analytics.infra.clickhouse.errors import ClickHouseError, refusal
from endpoint_analytics.infra.clickhouse.gate import Place
from endpoint_analytics.infra.clickhouse.pipe import Pipe
from endpoint_analytics.infra.clickhouse.request import Request
from endpoint_analytics.infra.clickhouse.session import Session
from endpoint_analytics.infra.clickhouse.statement import Kind, Statement
from endpoint_analytics.infra.clickhouse.workshop import Workshop

_KILL_AGAIN_S = 0.1


async def start_work(workshop: Workshop, request: Request, statement: Statement) -> Work:
    """A place, and a handle or the session, for one statement; raises ClickHouseError."""
    if request.session is not None and request.readonly and statement.kind in (Kind.INSERT, Kind.COMMAND):
        # A session's handle cannot be made readonly for one request: the engine would not take it back.
        raise refusal(164, "Cannot execute query in readonly mode.")
    place = await workshop.enter()
    try:
        session = None
        if request.session is not None:
            session = workshop.sessions.acquire(request.session, request.credentials.user, time.monotonic())
        return Work(workshop, request, statement, place, session)
    except BaseException:
        place.leave()
        raise


class Work:
    """One statement on its way through the engine."""

    def __init__(
        self,
        workshop: Workshop,
        request: Request,
        statement: Statement,
        place: Place,
        session: Session | None,
    ) -> None:
        self._workshop = workshop
        self._request = request
        self._statement = statement
        self._place = place
        self._session = session
        self._handle: Handle | None = None
        self._insertion: Insertion | None = None
        self._mark = uuid.uuid4().hex
        self.pipe: Pipe | None = None
        workshop.running.add(self._mark)

    def run(self, *, piped: bool) -> asyncio.Future[Outcome]:
        """Run a statement that needs no data, in a thread; its rows go into `pipe` when `piped`.

        The work ends by itself when the future is done.
        """
        pipe = self.pipe = Pipe() if piped else None

        def job() -> Outcome:
            try:
                handle = self._open()
                if pipe is None:
                    return handle.execute(self._statement.head, self._request.default_format)
                text = self._statement.into(pipe.path, self._request.default_format, self._mark)
                return handle.execute(text)
            finally:
                try:
                    self._close()
                finally:
                    if pipe is not None:
                        pipe.close_writing()

        future = self._workshop.in_thread(job)
        future.add_done_callback(lambda _: self._end())
        return future

    async def insert(self, data: bytes, *, last: bool) -> Outcome:
        """Feed an INSERT; with `last`, commit it. On any error the INSERT is given up and the work ended."""

        def job() -> Outcome:
            if self._insertion is None:
                self._insertion = self._open().begin_insert(self._statement.head, self._statement.format)
            if data:
                self._insertion.append(data)
            if not last:
                return Outcome()
            insertion, self._insertion = self._insertion, None
            try:
                return insertion.finish()
            finally:
                self._close()

        future = self._workshop.in_thread(job)
        try:
            outcome = await asyncio.shield(future)
        except BaseException:
            future.add_done_callback(self._give_up_after)
            raise
        if last:
            self._end()
        return outcome

    def _give_up_after(self, future: asyncio.Future[Outcome]) -> None:
        if not future.cancelled():
            future.exception()
        self.give_up()

    def give_up(self) -> None:
        """End an INSERT that shall not be committed, in a thread."""

        def job() -> Outcome:
            insertion, self._insertion = self._insertion, None
            try:
                if insertion is not None:
                    with contextlib.suppress(ClickHouseError):
                        insertion.cancel()
            finally:
                self._close()
            return Outcome()

        self._workshop.in_thread(job).add_done_callback(lambda _: self._end())

    async def abandon(self, future: asyncio.Future[Outcome]) -> None:
        """Stop a running query whose rows nobody wants any more, and wait until it has stopped."""
        if self.pipe is not None:
            self.pipe.close_reading()
        while not future.done():
            await self._workshop.kill(self._mark)
            await asyncio.wait([future], timeout=_KILL_AGAIN_S)
        future.exception()

    def _open(self) -> Handle:
        request = self._request
        comment = {"log_comment": request.settings.get("log_comment", "") + self._mark}
        settings = {**request.settings, **comment}
        parameters = {f"param_{name}": value for name, value in request.parameters.items()}
        if self._session is not None:
            self._handle = self._session.handle
            self._session.enter(settings, parameters, request.database)
            self._bring_tables(self._handle)
            return self._handle
        handle = self._handle = self._workshop.engine.open()
        handle.set({**settings, **parameters})
        if request.database:
            handle.use(request.database)
        self._bring_tables(handle)
        if request.readonly:
            handle.set({"readonly": str(request.readonly)})
        return handle

    def _bring_tables(self, handle: Handle) -> None:
        """Make the tables that came with the query; a session's handle is freed of them afterwards."""
        for table in self._request.tables:
            name = quote_name(table.name)
            handle.execute(f"CREATE TEMPORARY TABLE {name} ({table.structure}) ENGINE = Memory".encode())
            insertion = handle.begin_insert(f"INSERT INTO {name}".encode(), table.data_format)
            insertion.append(table.data)
            insertion.finish()

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
        self._workshop.running.discard(self._mark)
        if self._session is not None:
            session, self._session = self._session, None
            ticket = self._request.session
            close = ticket is not None and ticket.close_after
            self._workshop.sessions.release(session, time.monotonic(), close=close)
        self._place.leave()
