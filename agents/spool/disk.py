"""The thread that does the spool's disk work, one job at a time, so that a hung disk blocks nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import Full, Queue
from typing import Any, TypeVar

Result = TypeVar("Result")

MAX_JOBS = 32
"""Far more than are ever queued: each sender has at most one write and one read."""


class DiskThread:
    """A daemon thread; `run` serves one event loop. Nothing joins the thread, so a hung disk cannot block shutdown."""

    def __init__(self) -> None:
        self._jobs: Queue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = Queue(MAX_JOBS)
        self._thread = threading.Thread(target=self._work, name="endpoint-analytics-spool", daemon=True)

    def start(self) -> None:
        """Start the thread; call once."""
        self._thread.start()

    async def run(self, job: Callable[..., Result], *arguments: object) -> Result:
        """Return what the job returns, or raise what it raises; raises OSError if too many jobs are queued."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        try:
            self._jobs.put_nowait((lambda: job(*arguments), future))
        except Full as error:
            raise OSError("the disk does not respond") from error
        return await future

    def stop(self) -> None:
        """Stop after the queued jobs, without waiting for them."""
        try:
            self._jobs.put_nowait(None)
        except Full:
            return

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            try:
                result = job()
            except Exception as error:  # noqa: BLE001  # raised again in `run`
                _resolve(future, future.set_exception, error)
            else:
                _resolve(future, future.set_result, result)


def _resolve(future: asyncio.Future[Any], setter: Callable[[Any], None], outcome: object) -> None:
    def resolve() -> None:
        if not future.done():
            setter(outcome)

    try:
        future.get_loop().call_soon_threadsafe(resolve)
    except RuntimeError:  # the loop is closed: nothing awaits the result
        return
