"""The queue in front of the model: one inference at a time, a bounded number waiting, the rest refused."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from endpoint_analytics.infra.local.demo.model import Classification, Model

QUEUE_LIMIT = 16


class OverloadedError(Exception):
    """The queue is full: another inference would wait too long."""


class Inference:
    """Runs the model in its own thread, so that the event loop stays free."""

    def __init__(self, model: Model, limit: int = QUEUE_LIMIT) -> None:
        self._model = model
        self._limit = limit
        self._held = 0
        self.finished = self.refused = self.bytes_read = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    async def detect(self, content: bytes, *, admitted: bool = False) -> Classification:
        """Return the model's verdict. Raises OverloadedError at the limit, unless the request was `admitted` before."""
        if self._held >= self._limit and not admitted:
            self.refused += 1
            raise OverloadedError
        self._held += 1
        self.bytes_read += len(content)
        try:
            verdict = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._model.detect, content
            )
        finally:
            self._held -= 1
        self.finished += 1
        return verdict

    @property
    def running(self) -> int:
        """Inferences running now: at most one."""
        return min(self._held, 1)

    @property
    def waiting(self) -> int:
        """Inferences waiting in the queue."""
        return max(self._held - 1, 0)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
