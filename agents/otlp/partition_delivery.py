"""Delivers to one partition: the parts that wait make one group of batches, and are safe once Kafka has stored it.

One task sends, one group at a time, so each boot's numbers stay in order. What arrives meanwhile waits for the next
group. A part can be taken back until its group is made: from then on, only Kafka decides whether it is stored. So a
group is made only when the partition's leader answers: what comes while it does not can be taken back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from endpoint_analytics.agents.delivery.producer import Outgoing, Producer, TooLargeError
from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.agents.otlp.identity import Identity
from endpoint_analytics.agents.otlp.part import Part
from endpoint_analytics.agents.otlp.replicas import Message, Replicas
from endpoint_analytics.agents.otlp.state_sender import StateSender

logger = logging.getLogger("endpoint_analytics")

TICK_S = 1.0
GROUP_REQUESTS = 50_000
"""Most requests that become one group of batches: more wait for the next one."""
STALLED_AFTER_S = 4.0
"""What Kafka has not stored by then is not about to be stored."""


class PartitionDelivery:
    """Sends to `topic`, and states by `states`.

    `settle` is called for each part that Kafka has, `forget` for each replica that is gone; `now_us` is the clock.
    """

    def __init__(
        self,
        topic: str,
        producer: Producer,
        states: StateSender,
        replicas: Replicas,
        settle: Callable[[Part], None],
        forget: Callable[[Identity], None],
        now_us: Callable[[], int],
    ) -> None:
        self.replicas = replicas
        self.waiting = 0
        self._topic = topic
        self._producer = producer
        self._states = states
        self._settle = settle
        self._forget = forget
        self._now_us = now_us
        self._queue: dict[Part, int] = {}  # with their partitions, in order
        self._filled = asyncio.Event()
        self._looked_us = 0
        self._busy_since_s: float | None = None
        self._stopping = False

    @property
    def is_stalled(self) -> bool:
        """Whether Kafka has not stored what is being sent for so long that what is put in now would wait, too."""
        since_s = self._busy_since_s
        return since_s is not None and time.monotonic() - since_s > STALLED_AFTER_S

    def put(self, item: Part, partition: int) -> None:
        """Queue a part for the partition."""
        self._queue[item] = partition
        self.waiting += len(item.requests)
        self._filled.set()

    def take_back(self, part: Part) -> bool:
        """Forget a part, unless it is being sent; returns whether it is forgotten."""
        if part not in self._queue:
            return False
        del self._queue[part]
        self.waiting -= len(part.requests)
        self.replicas.note_dropped(part.replica, part.dropped)
        return True

    def stop(self) -> None:
        """Let `run` end once it has sent everything that waits, and queued that the replicas end here."""
        self._stopping = True
        self._filled.set()

    async def run(self) -> None:
        """Send until stopped; when cancelled, what waits is not confirmed."""
        try:
            while True:
                await self._wait()
                while self._queue:
                    await self._reach()
                    await self._send_group(self._take())
                if self._stopping:
                    self._states.put(self.replicas.stop())
                    return
                await self._send_heartbeats()
        finally:
            confirm(self._queue, stored=False)
            await self._producer.close()

    async def _reach(self) -> None:
        self._busy_since_s = time.monotonic()
        try:
            await self._producer.reach(self._topic, next(iter(self._queue.values())))
        finally:
            self._busy_since_s = None

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(TICK_S):
                await self._filled.wait()
        except TimeoutError:
            pass
        if not self._stopping:
            self._filled.clear()

    def _take(self) -> dict[Part, int]:
        taken: dict[Part, int] = {}
        number = 0
        for part, partition in self._queue.items():
            number += len(part.requests)
            if taken and number > GROUP_REQUESTS:
                break
            taken[part] = partition
        for part in taken:
            del self._queue[part]
        return taken

    async def _send_group(self, group: dict[Part, int]) -> None:
        try:
            await self._send_requests(group)
        except BaseException:
            confirm(group, stored=False)
            raise
        for part in group:
            self.waiting -= len(part.requests)
            self._settle(part)
        confirm(group, stored=True)

    async def _send_requests(self, group: dict[Part, int]) -> None:
        now_us = self._now_us()
        requests: dict[Identity, list[Logged]] = {}
        for part, partition in group.items():
            self.replicas.meet(part.replica, partition, now_us)
            self.replicas.note_dropped(part.replica, part.dropped)
            requests.setdefault(part.replica, []).extend(part.requests)
        messages = [
            message
            for replica, some in requests.items()
            for message in self.replicas.batches(replica, some, now_us)
        ]
        for replica in requests:
            self._states.put(self.replicas.running(replica))
        await self._send(messages)

    async def _send_heartbeats(self) -> None:
        """Look after all replicas, at most once a tick: there may be many, and many exports a second."""
        now_us = self._now_us()
        if abs(now_us - self._looked_us) < TICK_S * 1e6:
            return
        self._looked_us = now_us
        for replica, reports in self.replicas.departed(now_us):
            self._forget(replica)
            self._states.put(reports)
        await self._send(self.replicas.heartbeats(now_us))

    async def _send(self, messages: Sequence[Message]) -> None:
        """Send in order; a message that is too large for Kafka is counted as lost."""
        if not messages:
            return
        outgoing = [
            Outgoing(key, value, self.replicas.partition(replica)) for key, value, replica in messages
        ]
        self._busy_since_s = time.monotonic()
        try:
            await self._producer.send_all(self._topic, outgoing)
        except TooLargeError as error:
            if len(messages) > 1:  # which ones are stored is unknown, and a second copy is recognized
                for message in messages:
                    await self._send([message])
                return
            logger.warning("lost a batch that is too large for Kafka: %s", error)
            self.replicas.note_lost_batch(messages[0].replica)
        finally:
            self._busy_since_s = None


def confirm(parts: Iterable[Part], *, stored: bool) -> None:
    """Let those who wait for the parts know."""
    for part in parts:
        if part.stored is not None and not part.stored.done():
            part.stored.set_result(stored)
