"""The schedule of signals: at every multiple of the interval, the signals of all endpoints are read and sent.

Signals refer to that multiple, so concurrent senders send the same. A beat that cannot be read and sent within the
interval, or within GIVEN_UP_AFTER_S if the interval is shorter, is given up: the next one has newer figures. Beats
missed meanwhile are skipped.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from endpoint_analytics.pipeline.signals.messages import signal_message
from endpoint_analytics.pipeline.signals.producer import SignalProducer, SignalSendError
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.reader import Reader
from endpoint_analytics.pipeline.store.signal_queries import read_all_signals
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.identity import partition_key

log = logging.getLogger(__name__)

RETRY_S = 1.0
CHECK_WITHIN_S = 10.0
GIVEN_UP_AFTER_S = 5.0
"""Maximum age of signals when they are stored: a busy machine may miss short intervals, but not every signal."""


@dataclass(slots=True)
class SignalSender:
    """Reads and sends every `every_s` seconds; `now_s` is the wall clock, in Unix seconds."""

    reader: Reader
    producer: SignalProducer
    every_s: float
    now_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _failing: bool = False

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Run until cancelled; `on_ready` is called once ClickHouse and Kafka respond."""
        while not await self._reaches_both():
            await self.sleep(RETRY_S)
        on_ready()
        while True:
            at_s = next_beat_s(self.now_s(), self.every_s)
            await self.sleep(max(0.0, at_s - self.now_s()))
            await self.beat(at_s)

    async def beat(self, at_s: float) -> None:
        """Send the current signals of every endpoint at that moment."""
        try:
            found = await read_all_signals(self.reader, datetime.fromtimestamp(at_s, UTC))
        except StoreError:
            return  # the reader logs it, once
        messages = [
            (partition_key(*key), encode(signal_message(signals)))
            for key, signals in sorted(found.items())
            if signals.is_current
        ]
        allowed_s = max(self.every_s, GIVEN_UP_AFTER_S)
        left_s = at_s + allowed_s - self.now_s()
        if left_s <= 0:
            self._complain(f"reading takes longer than {allowed_s:g} s: ClickHouse is overloaded")
            return
        await self._send(messages, left_s)

    async def _reaches_both(self) -> bool:
        try:
            await read_all_signals(self.reader, datetime.fromtimestamp(self.now_s(), UTC))
        except StoreError:
            return False
        return await self._send([], CHECK_WITHIN_S)

    async def _send(self, messages: Sequence[tuple[bytes, bytes]], within_s: float) -> bool:
        try:
            await self.producer.send(messages, within_s)
        except SignalSendError as error:
            self._complain(str(error))
            return False
        if self._failing:
            log.info("signals are sent again")
            self._failing = False
        return True

    def _complain(self, what: str) -> None:
        if not self._failing:
            log.error("signals are not sent, retrying with newer ones: %s", what)
        self._failing = True


def next_beat_s(now_s: float, every_s: float) -> float:
    """Return the next multiple of the interval after now."""
    return (math.floor(now_s / every_s) + 1) * every_s
