"""Takes exports in, from HTTP and from a topic: one at a time, in steps between which the event loop runs.

In this order: an export is read wholly before anything of it is taken, and what is taken is queued at once. So a bad
body leaves nothing behind, and what is remembered as waiting does wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Set as AbstractSet

from endpoint_analytics.agents.otlp.compression import plain_body
from endpoint_analytics.agents.otlp.decoding import open_export
from endpoint_analytics.agents.otlp.delivery import Delivery
from endpoint_analytics.agents.otlp.identity import Fixed, Identity
from endpoint_analytics.agents.otlp.intake import Intake, Received
from endpoint_analytics.agents.otlp.reading import Reading, read_export
from endpoint_analytics.agents.otlp.tally import Tally


class RefusedError(Exception):
    """Nothing of the export was taken: it is to be sent again. `status` is the HTTP status that says so."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Admission:
    """Takes exports in; `fixed` and `excluded` are how they are read."""

    def __init__(
        self, intake: Intake, delivery: Delivery, tally: Tally, fixed: Fixed, excluded: AbstractSet[str]
    ) -> None:
        self._intake = intake
        self._delivery = delivery
        self._tally = tally
        self._fixed = fixed
        self._excluded = excluded
        self._turn = asyncio.Lock()

    async def admit(self, body: bytes, kind: str) -> Received:
        """Take an export in, however much waits; raises BadBodyError."""
        async with self._turn:
            return self._take(await self._read(body, kind))

    async def admit_if_possible(
        self, body: bytes, kind: str, encoding: str, max_bytes: int, *, whole: bool
    ) -> Received:
        """Take an export in; raises BadBodyError, and RefusedError if too much waits.

        `whole`: also refuse it if a part of it could not be stored soon: the exporter may go elsewhere with all of it.
        """
        async with self._turn:
            if self._delivery.is_full:
                raise RefusedError(429, "too many requests wait for Kafka")
            reading = await self._read(plain_body(body, encoding, max_bytes), kind)
            replicas = {each.replica for each in reading.resources if isinstance(each.replica, Identity)}
            if not self._delivery.has_room(sum(len(each.requests) for each in reading.resources)):
                raise RefusedError(429, "too many requests wait for Kafka")
            if self._delivery.are_full(replicas):
                raise RefusedError(429, "too many requests wait for a partition of Kafka's topic")
            if whole and self._delivery.are_stalled(replicas):
                raise RefusedError(503, "Kafka stores nothing in a partition of its topic at the moment")
            return self._take(reading)

    async def _read(self, body: bytes, kind: str) -> Reading:
        steps = read_export(open_export(body, kind), self._fixed, self._excluded, time.time_ns() // 1_000)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                reading: Reading = end.value
                return reading
            await asyncio.sleep(0)

    def _take(self, reading: Reading) -> Received:
        received = self._intake.take(reading)
        self._delivery.put(received)
        self._tally.add(received, time.monotonic())
        return received


async def until_stored(received: Received, within_s: float | None = None) -> bool:
    """Return whether Kafka has everything that the export brought or repeated, as far as is known in time."""
    parts = (*received.parts.values(), *received.repeats)
    waiting = {part.stored for part in parts if part.stored is not None}
    if not waiting:
        return True
    done, pending = await asyncio.wait(waiting, timeout=within_s)
    return not pending and all(one.result() for one in done)
