"""What all queries share: the engine, the threads, the gate and the sessions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from endpoint_analytics.infra.clickhouse.engine import Engine
from endpoint_analytics.infra.clickhouse.errors import ClickHouseError, refusal
from endpoint_analytics.infra.clickhouse.gate import Gate, Place
from endpoint_analytics.infra.clickhouse.session import Sessions

_KILL_AGAIN_S = 0.05
_Result = TypeVar("_Result")


class Workshop:
    """Used by one asyncio loop. `running` holds the marks of the queries under way."""

    def __init__(self, engine: Engine, *, running: int = 16, waiting: int = 64) -> None:
        self.engine = engine
        self.sessions = Sessions(engine)
        self.running: set[str] = set()
        self._gate = Gate(running, waiting)
        self._threads = ThreadPoolExecutor(running, thread_name_prefix="query")
        self._killers = ThreadPoolExecutor(1, thread_name_prefix="kill")
        self._stopping = False

    async def enter(self) -> Place:
        """A place for one query; raises ClickHouseError when the line is full or the server stops."""
        place = await self._gate.enter()
        if self._stopping:
            place.leave()
            raise refusal(236, "The server is stopping.")
        return place

    def in_thread(self, job: Callable[[], _Result]) -> asyncio.Future[_Result]:
        """Run a blocking job. Whoever holds a place finds a thread free."""
        return asyncio.get_running_loop().run_in_executor(self._threads, job)

    async def kill(self, mark: str) -> None:
        """Tell the engine to stop the query with this mark; it may take a while, or not have begun."""
        with contextlib.suppress(ClickHouseError):
            await asyncio.get_running_loop().run_in_executor(self._killers, self.engine.kill, mark)

    async def stop(self, timeout_s: float) -> None:
        """Take no more queries, cancel those that run, wait for them, and end the sessions."""
        self._stopping = True
        deadline = time.monotonic() + timeout_s
        while self.running and time.monotonic() < deadline:
            await asyncio.gather(*(self.kill(mark) for mark in list(self.running)))
            await asyncio.sleep(_KILL_AGAIN_S)
        self.sessions.close()

    def close(self) -> None:
        """End the threads, which have nothing to do any more."""
        self._threads.shutdown()
        self._killers.shutdown()
