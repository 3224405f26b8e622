"""What all queries share: the engine, the threads, the admission queue and the sessions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from endpoint_analytics.infra.local.clickhouse.access import ANALYST_QUERIES
from endpoint_analytics.infra.local.clickhouse.admission_queue import AdmissionQueue, Slot
from endpoint_analytics.infra.local.clickhouse.engine import Engine
from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError, refusal
from endpoint_analytics.infra.local.clickhouse.pipe import Feed
from endpoint_analytics.infra.local.clickhouse.session import Sessions

_KILL_AGAIN_S = 0.05
_AT_ONCE_BYTES = 1 << 12
_Result = TypeVar("_Result")


@dataclass(slots=True)
class Running:
    """A query under way: whose it is, since nobody ends another's, and what it is fed by when it is an INSERT."""

    user: str
    feed: Feed | None = None


class QueryPool:
    """Used by one asyncio loop. `running` holds the queries under way by their ids."""

    def __init__(self, engine: Engine, *, running: int = 16, waiting: int = 64) -> None:
        """`running` and `waiting` are the writer's; analysts have slots and a line of their own."""
        self.engine = engine
        self.sessions = Sessions(engine)
        self.running: dict[str, Running] = {}
        self._admission = AdmissionQueue(running, waiting)
        self._analysts_gate = AdmissionQueue(ANALYST_QUERIES, ANALYST_QUERIES * 4)
        self._threads = ThreadPoolExecutor(running + ANALYST_QUERIES, thread_name_prefix="query")
        self._killers = ThreadPoolExecutor(1, thread_name_prefix="kill")
        # What is short and waits for no query: each has threads of its own, and analysts a line before them.
        self._short = ThreadPoolExecutor(2, thread_name_prefix="short")
        self._analysts_short = ThreadPoolExecutor(2, thread_name_prefix="analysts")
        self._analysts_turns = AdmissionQueue(ANALYST_QUERIES, ANALYST_QUERIES * 4)
        self._analysts_uploads = AdmissionQueue(ANALYST_QUERIES, ANALYST_QUERIES * 4)
        self._stopping = False

    def is_of(self, query_id: str, user: str) -> bool:
        """Whether a query of this id is under way, and is this user's."""
        return (query := self.running.get(query_id)) is not None and query.user == user

    async def enter(self, *, analyst: bool = False) -> Slot:
        """A slot for one query; raises ClickHouseError when the line is full or the server stops."""
        slot = await (self._analysts_gate if analyst else self._admission).enter()
        if self._stopping:
            slot.leave()
            raise refusal(236, "The server is stopping.")
        return slot

    def in_thread(self, job: Callable[[], _Result]) -> asyncio.Future[_Result]:
        """Run a blocking job. Whoever holds a slot finds a thread free."""
        return asyncio.get_running_loop().run_in_executor(self._threads, job)

    @contextlib.asynccontextmanager
    async def turn(self, *, analyst: bool) -> AsyncIterator[None]:
        """A turn at what is short; raises ClickHouseError when too many analysts wait for theirs."""
        if not analyst:
            yield
            return
        slot = await self._analysts_turns.enter()
        try:
            yield
        finally:
            slot.leave()

    @contextlib.asynccontextmanager
    async def upload(self) -> AsyncIterator[None]:
        """A slot for an analyst's long body in memory; raises ClickHouseError when too many wait for one."""
        slot = await self._analysts_uploads.enter()
        try:
            yield
        finally:
            slot.leave()

    def in_thread_at_once(self, job: Callable[[], _Result], *, analyst: bool) -> asyncio.Future[_Result]:
        """Run a short blocking job that no query may hold up, in a turn."""
        threads = self._analysts_short if analyst else self._short
        return asyncio.get_running_loop().run_in_executor(threads, job)

    async def look_through(self, job: Callable[[], _Result], size: int, *, analyst: bool) -> _Result:
        """Run a job that takes microseconds for each of `size` bytes; in a thread where these are many."""
        return job() if size <= _AT_ONCE_BYTES else await self.in_thread_at_once(job, analyst=analyst)

    async def kill(self, query_id: str) -> None:
        """Tell the engine to stop the query with this id; it may take a while, or not have begun."""
        with contextlib.suppress(ClickHouseError):
            await asyncio.get_running_loop().run_in_executor(self._killers, self.engine.kill, query_id)
        if (query := self.running.get(query_id)) is not None and query.feed is not None:
            query.feed.cut()  # it may wait for data, and hear nothing meanwhile

    async def stop(self, timeout_s: float) -> None:
        """Take no more queries, cancel those that run, wait for them, and end the sessions."""
        self._stopping = True
        deadline = time.monotonic() + timeout_s
        while self.running and time.monotonic() < deadline:
            await asyncio.gather(*(self.kill(query_id) for query_id in list(self.running)))
            await asyncio.sleep(_KILL_AGAIN_S)
        self.sessions.close()

    def close(self) -> None:
        """End the threads, which have nothing to do any more."""
        self._threads.shutdown()
        self._killers.shutdown()
        self._short.shutdown()
        self._analysts_short.shutdown()
