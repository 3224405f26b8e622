"""The beat of the signals: at every multiple of the interval, all endpoints are read and sent.

The moment that signals speak of is that multiple, so that two senders side by side say the same. What cannot be
read and sent within the interval, or within seconds where the interval is shorter, is given up: a beat of now has
newer figures. Beats that go by meanwhile are left out.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from endpoint_analytics.pipeline.signals.messages import signal_message
from endpoint_analytics.pipeline.signals.producer import SendError, SignalProducer
from endpoint_analytics.pipeline.store.endpoint_metrics import Reader
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.signal_queries import read_all_signals
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.identity import partition_key

log = logging.getLogger(__name__)

RETRY_S = 1.0
REACH_WITHIN_S = 10.0
GIVEN_UP_AFTER_S = 5.0
"""Signals may be this old when they are stored: on a busy machine a short interval is missed, not each signal."""


@dataclass(slots=True)
class Sender:
    """Reads and sends every `every_s` seconds; `now_s` is the wall clock, in Unix seconds."""

    reader: Reader
    producer: SignalProducer
    every_s: float
    now_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _failing: bool = False

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Go on until cancelled; `on_ready` is called once ClickHouse and Kafka answer."""
        while not await self._reaches_both():
            await self.sleep(RETRY_S)
        on_ready()
        while True:
            at_s = next_beat_s(self.now_s(), self.every_s)
            await self.sleep(max(0.0, at_s - self.now_s()))
            await self.beat(at_s)

    async def beat(self, at_s: float) -> None:
        """Send what is current of every endpoint at the moment."""
        try:
            found = await read_all_signals(self.reader, datetime.fromtimestamp(at_s, UTC))
        except StoreError:
            return  # the reader says so, once
        messages = [
            (partition_key(*key), encode(signal_message(signals)))
            for key, signals in sorted(found.items())
            if signals.is_current
        ]
        allowed_s = max(self.every_s, GIVEN_UP_AFTER_S)
        left_s = at_s + allowed_s - self.now_s()
        if left_s <= 0:
            self._complain(f"reading takes longer than {allowed_s:g} s: ClickHouse has too much to do")
            return
        await self._send(messages, left_s)

    async def _reaches_both(self) -> bool:
        try:
            await read_all_signals(self.reader, datetime.fromtimestamp(self.now_s(), UTC))
        except StoreError:
            return False
        return await self._send([], REACH_WITHIN_S)

    async def _send(self, messages: Sequence[tuple[bytes, bytes]], within_s: float) -> bool:
        try:
            await self.producer.send(messages, within_s)
        except SendError as error:
            self._complain(str(error))
            return False
        if self._failing:
            log.info("signals are sent again")
            self._failing = False
        return True

    def _complain(self, what: str) -> None:
        if not self._failing:
            log.error("signals are not sent, and it is tried with newer ones until it works: %s", what)
        self._failing = True


def next_beat_s(now_s: float, every_s: float) -> float:
    """Return the next multiple of the interval after now."""
    return (math.floor(now_s / every_s) + 1) * every_s
