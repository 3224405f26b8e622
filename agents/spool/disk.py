"""The thread that does the spool's disk work, one job after another, so that a hung disk stops nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import Full, Queue
from typing import Any, TypeVar

Result = TypeVar("Result")

MAX_JOBS = 32
"""Far more than wait at once: each sender has at most a write and a read there."""


class DiskThread:
    """A daemon thread; `run` is for one event loop. Nobody waits for a thread whose disk hangs."""

    def __init__(self) -> None:
        self._jobs: Queue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = Queue(MAX_JOBS)
        self._thread = threading.Thread(target=self._work, name="endpoint-analytics-spool", daemon=True)

    def start(self) -> None:
        """Start; once."""
        self._thread.start()

    async def run(self, job: Callable[..., Result], *arguments: object) -> Result:
        """Return what the job returns, or raise what it raises; OSError too when too many jobs wait."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        try:
            self._jobs.put_nowait((lambda: job(*arguments), future))
        except Full as error:
            raise OSError("the disk does not answer") from error
        return await future

    def stop(self) -> None:
        """End after the jobs that wait; does not wait for it."""
        try:
            self._jobs.put_nowait(None)
        except Full:
            return

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            try:
                result = job()
            except Exception as error:  # noqa: BLE001  # it is raised where the job was ordered
                _tell(future, future.set_exception, error)
            else:
                _tell(future, future.set_result, result)


def _tell(future: asyncio.Future[Any], how: Callable[[Any], None], outcome: object) -> None:
    def tell() -> None:
        if not future.done():
            how(outcome)

    try:
        future.get_loop().call_soon_threadsafe(tell)
    except RuntimeError:  # the loop has closed: nobody waits
        return
