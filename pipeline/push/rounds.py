"""The schedule of a push: at every multiple of the interval, the families of all endpoints are read and sent.

Messages hold a bounded number of data points. What cannot be sent within the interval is given up: the next round has
newer figures, and cumulative ones lose nothing by it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from endpoint_analytics.pipeline.exposition.families import MetricFamily
from endpoint_analytics.pipeline.push.otlp_metrics import export_requests
from endpoint_analytics.pipeline.push.sender import Sender
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.scope import Scope

MESSAGE_POINTS = 5_000


@dataclass(slots=True)
class Rounds:
    """Reads and sends every `every_s` seconds; `now_s` is the wall clock, `clock` a monotonic one, in seconds.

    `families_of` returns the families of all endpoints of a scope, with the labels of these; it raises StoreError.
    """

    scopes: Sequence[Scope]
    families_of: Callable[[Scope], Awaitable[Sequence[MetricFamily]]]
    sender: Sender
    every_s: float
    now_s: Callable[[], float]
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    unread: int = 0
    """How often the figures of a scope could not be read, so that nothing of it was sent."""

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.sleep(next_round_s(self.now_s(), self.every_s) - self.now_s())
            await self.push()

    async def push(self) -> None:
        """Read and send once, within the interval."""
        until_s = self.clock() + self.every_s
        for scope in self.scopes:
            at_s = self.now_s()
            try:
                families = await self.families_of(scope)
            except StoreError:  # the reader logs it, once
                self.unread += 1
                continue
            for message in await asyncio.to_thread(_messages, families, at_s):
                await self.sender.send(message, until_s)
        self.sender.end_round()


def _messages(families: Sequence[MetricFamily], at_s: float) -> list[ExportMetricsServiceRequest]:
    return list(export_requests(families, at_s, MESSAGE_POINTS))


def next_round_s(now_s: float, every_s: float) -> float:
    """Return the next multiple of the interval after now."""
    return (math.floor(now_s / every_s) + 1) * every_s
