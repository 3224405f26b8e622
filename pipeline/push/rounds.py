"""The schedule of a push: at every multiple of the interval, the families of all endpoints are read and sent.

Messages hold a bounded number of data points. What cannot be sent within the interval is given up: the next round has
newer figures, and cumulative ones lose nothing by it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from endpoint_analytics.pipeline.exposition.families import MetricFamily
from endpoint_analytics.pipeline.push.otlp_metrics import export_request, point_count
from endpoint_analytics.pipeline.push.sender import Sender
from endpoint_analytics.pipeline.store.errors import StoreError

log = logging.getLogger(__name__)

MESSAGE_POINTS = 5_000

Endpoint = tuple[str, str]
"""Namespace and name."""


@dataclass(slots=True)
class Rounds:
    """Reads and sends every `every_s` seconds; `now_s` is the wall clock, `clock` a monotonic one, in seconds.

    `list_endpoints` and `families_of` raise StoreError; an endpoint that is gone has no families.
    """

    list_endpoints: Callable[[], Awaitable[Sequence[Endpoint]]]
    families_of: Callable[[str, str], Awaitable[Sequence[MetricFamily]]]
    sender: Sender
    every_s: float
    now_s: Callable[[], float]
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await self.sleep(next_round_s(self.now_s(), self.every_s) - self.now_s())
            await self.push()

    async def push(self) -> None:
        """Read and send once, within the interval."""
        until_s = self.clock() + self.every_s
        try:
            endpoints = await self.list_endpoints()
        except StoreError:
            return  # the reader logs it, once
        waiting: list[tuple[str, str, Sequence[MetricFamily]]] = []
        points = 0
        for namespace, endpoint in endpoints:
            try:
                families = await self.families_of(namespace, endpoint)
            except StoreError:
                continue
            if waiting and points + point_count(families) > MESSAGE_POINTS:
                await self.sender.send(export_request(waiting, self.now_s()), until_s)
                waiting, points = [], 0
            waiting.append((namespace, endpoint, families))
            points += point_count(families)
        if points:
            await self.sender.send(export_request(waiting, self.now_s()), until_s)


def next_round_s(now_s: float, every_s: float) -> float:
    """Return the next multiple of the interval after now."""
    return (math.floor(now_s / every_s) + 1) * every_s
