"""Sends what dead processes left in the spool: unchanged, in order, in parallel to the agent's own messages.

It has its own connection and a bounded rate, so new messages never wait for old ones. Messages that Kafka already has
are sent again with their original boot and seq, by which the worker recognizes duplicates.
"""

from __future__ import annotations

import asyncio

from endpoint_analytics.agents.delivery.backlog import GROUP_BYTES, GROUP_MESSAGES, pause_s, send_group
from endpoint_analytics.agents.delivery.producer import Outgoing, Producer
from endpoint_analytics.agents.spool.disk import DiskThread
from endpoint_analytics.agents.spool.frame import SpoolRecord
from endpoint_analytics.agents.spool.spool import Spool
from endpoint_analytics.agents.spool.spool_outbox import SpoolOutbox

POLL_INTERVAL_S = 10.0
"""When a process dies, the others take over its spool within this time."""


class Replay:
    """Replays `topic`, whose suffix is `suffix`; counts messages that are too large in `counter`."""

    def __init__(
        self,
        suffix: str,
        topic: str,
        counter: SpoolOutbox,
        producer: Producer,
        spool: Spool,
        disk: DiskThread,
    ) -> None:
        self._suffix = suffix
        self._topic = topic
        self._counter = counter
        self._producer = producer
        self._spool = spool
        self._disk = disk

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                if not await self._send_some():
                    await self._producer.close()
                    await asyncio.sleep(POLL_INTERVAL_S)
        finally:
            await self._producer.close()

    async def _send_some(self) -> bool:
        try:
            records = await self._disk.run(self._spool.read_adopted, self._suffix)
            if not records:
                return False
            while records:
                group = _first(records)
                records = records[len(group) :]
                messages = [Outgoing(record.key, record.message, record.partition) for record in group]
                await send_group(self._producer, self._topic, messages, self._counter, "adopted_")
                await asyncio.sleep(pause_s(len(messages), sum(len(message.value) for message in messages)))
            await self._disk.run(self._spool.delete_adopted, self._suffix)
        except OSError:  # from the disk: the producer handles Kafka's own errors
            return False
        return True


def _first(records: list[SpoolRecord]) -> list[SpoolRecord]:
    total = 0
    for index, record in enumerate(records[:GROUP_MESSAGES]):
        total += len(record.message)
        if index and total > GROUP_BYTES:
            return records[:index]
    return records[:GROUP_MESSAGES]
