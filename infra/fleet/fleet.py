"""Runs a fleet: sends rounds of batches to Kafka, in real time or as fast as possible."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from endpoint_analytics.infra.fleet.config import FleetConfig
from endpoint_analytics.infra.fleet.replica import FleetReplica
from endpoint_analytics.infra.fleet.sender import FleetSender, Message
from endpoint_analytics.infra.fleet.truth import FleetTruth
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig

SLICES = 10
"""Slices of an interval: in each tenth of it, a tenth of the replicas flush."""
MESSAGES_AT_ONCE = 500


class Fleet:
    """A fleet that writes to one Kafka. `truth` grows as Kafka stores its messages; `stop()` ends a run early.

    It can be run several times in succession: replicas continue where they stopped.
    """

    def __init__(self, config: FleetConfig, kafka: KafkaConfig) -> None:
        self.config = config
        self.truth = FleetTruth()
        self._kafka = kafka
        mark = f"{time.time_ns() // 1_000:x}"
        self.replicas = [
            FleetReplica(number, config, mark, kafka.topic_prefix, self.truth)
            for number in range(config.replicas)
        ]
        self._interval_us = int(config.interval_s * 1_000_000)
        self._now_us = 0
        self._stopping = False

    def stop(self) -> None:
        """End the run after the current delivery. Safe to call from any thread."""
        self._stopping = True

    async def run_fast(self, rounds: int, start_us: int | None = None) -> None:
        """Send `rounds` batches of each replica without a pause.

        Their time starts at `start_us`, else where the previous run ended, else such that the last batch ends now.
        """
        length_us = rounds * self._interval_us
        begin_us = start_us or self._now_us or time.time_ns() // 1_000 - length_us
        async with FleetSender(self._kafka) as sender:
            for number in range(rounds):
                if self._stopping:
                    break
                self._now_us = begin_us + (number + 1) * self._interval_us
                for start in range(0, len(self.replicas), MESSAGES_AT_ONCE):
                    messages = [
                        message
                        for replica in self.replicas[start : start + MESSAGES_AT_ONCE]
                        for message in replica.step(self._now_us - self._interval_us, self._now_us)
                    ]
                    await self._deliver(sender, messages)
            await self._rest(sender)

    async def run_steadily(self, seconds: float, report: Callable[[FleetTruth], None] | None = None) -> None:
        """Send in real time for `seconds`; calls `report` after each interval.

        If Kafka stores messages more slowly than that, intervals grow longer, like those of a real agent.
        """
        slices = [self.replicas[number::SLICES] for number in range(SLICES)]
        flushed_us = [time.time_ns() // 1_000 - self._interval_us] * SLICES
        begun, slice_s, number = time.monotonic(), self.config.interval_s / SLICES, 0
        async with FleetSender(self._kafka) as sender:
            while not self._stopping and time.monotonic() < begun + seconds:
                turn = number % SLICES
                now_us = time.time_ns() // 1_000
                messages = [m for replica in slices[turn] for m in replica.step(flushed_us[turn], now_us)]
                flushed_us[turn] = self._now_us = now_us
                await self._deliver(sender, messages)
                number += 1
                if report is not None and number % SLICES == 0:
                    report(self.truth)
                await asyncio.sleep(max(0.0, begun + number * slice_s - time.monotonic()))
            await self._rest(sender)

    async def _rest(self, sender: FleetSender) -> None:
        await self._deliver(sender, [message for replica in self.replicas for message in replica.rest()])

    async def _deliver(self, sender: FleetSender, messages: list[Message]) -> None:
        before = sender.uncertain
        await sender.deliver(messages)
        self.truth.uncertain += sender.uncertain - before
