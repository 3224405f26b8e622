"""What all queries share: the ClickHouse engine, the threads, the admission queues and the sessions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from endpoint_analytics.infra.local.clickhouse.admission_queue import AdmissionQueue, Slot
from endpoint_analytics.infra.local.clickhouse.engine import ClickHouseEngine
from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError, refusal
from endpoint_analytics.infra.local.clickhouse.pipe import Feed
from endpoint_analytics.infra.local.clickhouse.privileges import ANALYST_QUERIES
from endpoint_analytics.infra.local.clickhouse.session import EngineSessions

_KILL_AGAIN_S = 0.05
_AT_ONCE_BYTES = 1 << 12
_Result = TypeVar("_Result")


@dataclass(slots=True)
class RunningQuery:
    """A running query: its user, since analysts may end only their own, and the feed if it is an INSERT."""

    user: str
    feed: Feed | None = None


class QueryPool:
    """The pool of one asyncio loop. `running` holds the running queries by their IDs."""

    def __init__(self, engine: ClickHouseEngine, *, running: int = 16, waiting: int = 64) -> None:
        """`running` and `waiting` limit the writer; analysts have their own slots and waiting line."""
        self.engine = engine
        self.sessions = EngineSessions(engine)
        self.running: dict[str, RunningQuery] = {}
        self._admission = AdmissionQueue(running, waiting)
        self._analyst_admission = AdmissionQueue(ANALYST_QUERIES, ANALYST_QUERIES * 4)
        self._threads = ThreadPoolExecutor(running + ANALYST_QUERIES, thread_name_prefix="query")
        self._killers = ThreadPoolExecutor(1, thread_name_prefix="kill")
        # For short jobs that must not wait for queries: separate threads for each account, a waiting line for analysts.
        self._short = ThreadPoolExecutor(2, thread_name_prefix="short")
        self._analyst_short = ThreadPoolExecutor(2, thread_name_prefix="analysts")
        self._analyst_turns = AdmissionQueue(ANALYST_QUERIES, ANALYST_QUERIES * 4)
        self._analyst_uploads = AdmissionQueue(ANALYST_QUERIES, ANALYST_QUERIES * 4)
        self._stopping = False

    def is_of(self, query_id: str, user: str) -> bool:
        """Whether a query with this ID is running and belongs to this user."""
        return (query := self.running.get(query_id)) is not None and query.user == user

    async def enter(self, *, analyst: bool = False) -> Slot:
        """Wait for a slot for one query; raises ClickHouseError if the line is full or the server is stopping."""
        slot = await (self._analyst_admission if analyst else self._admission).enter()
        if self._stopping:
            slot.leave()
            raise refusal(236, "The server is stopping.")
        return slot

    def in_thread(self, job: Callable[[], _Result]) -> asyncio.Future[_Result]:
        """Run a blocking job. A thread is always free for the holder of a slot."""
        return asyncio.get_running_loop().run_in_executor(self._threads, job)

    @contextlib.asynccontextmanager
    async def turn(self, *, analyst: bool) -> AsyncIterator[None]:
        """Hold a turn for short jobs; raises ClickHouseError if too many analysts are waiting."""
        if not analyst:
            yield
            return
        slot = await self._analyst_turns.enter()
        try:
            yield
        finally:
            slot.leave()

    @contextlib.asynccontextmanager
    async def upload(self) -> AsyncIterator[None]:
        """Hold a slot for an analyst's long body in memory; raises ClickHouseError if too many are waiting."""
        slot = await self._analyst_uploads.enter()
        try:
            yield
        finally:
            slot.leave()

    def in_short_thread(self, job: Callable[[], _Result], *, analyst: bool) -> asyncio.Future[_Result]:
        """Run a short blocking job that must not wait for queries; the caller holds a turn."""
        threads = self._analyst_short if analyst else self._short
        return asyncio.get_running_loop().run_in_executor(threads, job)

    async def scan(self, job: Callable[[], _Result], size: int, *, analyst: bool) -> _Result:
        """Run a job that takes microseconds for each of `size` bytes; in a thread if there are many."""
        return job() if size <= _AT_ONCE_BYTES else await self.in_short_thread(job, analyst=analyst)

    async def kill(self, query_id: str) -> None:
        """Ask the engine to stop the query with this ID, which may take a while, or not have started yet."""
        with contextlib.suppress(ClickHouseError):
            await asyncio.get_running_loop().run_in_executor(self._killers, self.engine.kill, query_id)
        if (query := self.running.get(query_id)) is not None and query.feed is not None:
            query.feed.close()  # it may be blocked on its data and not notice the kill

    async def stop(self, timeout_s: float) -> None:
        """Accept no more queries, cancel the running ones, wait for them, and end the sessions."""
        self._stopping = True
        deadline = time.monotonic() + timeout_s
        while self.running and time.monotonic() < deadline:
            await asyncio.gather(*(self.kill(query_id) for query_id in list(self.running)))
            await asyncio.sleep(_KILL_AGAIN_S)
        self.sessions.close()

    def close(self) -> None:
        """End the threads, once they are idle."""
        self._threads.shutdown()
        self._killers.shutdown()
        self._short.shutdown()
        self._analyst_short.shutdown()
