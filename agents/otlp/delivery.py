"""Delivers what was received: the requests that wait make one group of batches, and are safe once Kafka has stored it.

One task sends, one group at a time, so each boot's numbers stay in order. What arrives meanwhile waits for the next
group, in a bounded queue. The senders of the spans are the buffer for longer outages: they get an answer only then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from endpoint_analytics.agents.delivery.producer import Outgoing, Producer, TooLargeError
from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.agents.otlp.identity import Identity
from endpoint_analytics.agents.otlp.intake import Received
from endpoint_analytics.agents.otlp.replicas import Message, Replicas
from endpoint_analytics.agents.otlp.state_sender import StateSender
from endpoint_analytics.schemas.identity import partition_key

logger = logging.getLogger("endpoint_analytics")

TICK_S = 1.0
GROUP_REQUESTS = 50_000
"""Most requests that become one group of batches: more wait for the next one."""


@dataclass(slots=True)
class _Waiting:
    received: Received
    stored: asyncio.Future[None]


@dataclass(slots=True)
class Delivery:
    """Sends to the topic `requests`, and states by `states`; `forget` is called for each replica that is gone.

    `max_waiting` bounds the requests in the queue; `now_us` is the clock.
    """

    producer: Producer
    requests: str
    states: StateSender
    replicas: Replicas
    forget: Callable[[Identity], None]
    now_us: Callable[[], int]
    max_waiting: int = 200_000
    waiting: int = 0
    _queue: deque[_Waiting] = field(default_factory=deque)
    _newest: asyncio.Future[None] | None = None
    _filled: asyncio.Event = field(default_factory=asyncio.Event)
    _looked_us: int = 0
    _stopping: bool = False

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be put in."""
        return self._stopping or self.waiting >= self.max_waiting

    def put(self, received: Received) -> asyncio.Future[None]:
        """Queue what was received; the result says that Kafka has stored it, and everything that was queued before.

        What brings no new request waits with the newest that does: it may repeat that one.
        """
        loop = asyncio.get_running_loop()
        if not received.accepted:
            for replica, reasons in received.dropped.items():
                self.replicas.note_dropped(replica, reasons)
            if self._newest is None:
                self._newest = loop.create_future()
                self._newest.set_result(None)
            return self._newest
        self._newest = loop.create_future()
        self.waiting += received.accepted
        self._queue.append(_Waiting(received, self._newest))
        self._filled.set()
        return self._newest

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
                    await self._send_group(self._take())
                if self._stopping:
                    self.states.put(self.replicas.stop())
                    return
                await self._send_heartbeats()
        finally:
            for each in self._queue:
                each.stored.cancel()
            await self.producer.close()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(TICK_S):
                await self._filled.wait()
        except TimeoutError:
            pass
        if not self._stopping:
            self._filled.clear()

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        number = 0
        while self._queue and (not taken or number + self._queue[0].received.accepted <= GROUP_REQUESTS):
            taken.append(self._queue.popleft())
            number += taken[-1].received.accepted
        return taken

    async def _send_group(self, group: Sequence[_Waiting]) -> None:
        try:
            await self._send_requests(group)
        except BaseException:
            for each in group:
                each.stored.cancel()
            raise
        for each in group:
            self.waiting -= each.received.accepted
            if not each.stored.done():
                each.stored.set_result(None)

    async def _send_requests(self, group: Sequence[_Waiting]) -> None:
        requests: dict[Identity, list[Logged]] = {}
        dropped: dict[Identity, Counter[str]] = {}
        for each in group:
            for replica, some in each.received.requests.items():
                requests.setdefault(replica, []).extend(some)
            for replica, reasons in each.received.dropped.items():
                dropped.setdefault(replica, Counter()).update(reasons)
        for replica, reasons in dropped.items():
            self.replicas.note_dropped(replica, reasons)
        now_us = self.now_us()
        messages = [
            message
            for replica, some in requests.items()
            for message in self.replicas.batches(replica, some, now_us)
        ]
        for replica in requests:
            self.states.put(self.replicas.running(replica))
        await self._send(messages)

    async def _send_heartbeats(self) -> None:
        """Look after all replicas, at most once a tick: there may be many, and many exports a second."""
        now_us = self.now_us()
        if abs(now_us - self._looked_us) < TICK_S * 1e6:
            return
        self._looked_us = now_us
        for replica, reports in self.replicas.departed(now_us):
            self.forget(replica)
            self.producer.forget_partition(self.requests, partition_key(*replica))
            self.states.put(reports)
        await self._send(self.replicas.heartbeats(now_us))

    async def _send(self, messages: Sequence[Message]) -> None:
        """Send in order; a message that is too large for Kafka is counted as lost."""
        if not messages:
            return
        outgoing = [
            Outgoing(key, value, self.replicas.partition(replica)) for key, value, replica in messages
        ]
        try:
            await self.producer.send_all(self.requests, outgoing)
        except TooLargeError as error:
            if len(messages) > 1:  # which ones are stored is unknown, and a second copy is recognized
                for message in messages:
                    await self._send([message])
                return
            logger.warning("lost a batch that is too large for Kafka: %s", error)
            self.replicas.note_lost_batch(messages[0].replica)
        else:
            for key, _, replica in messages:
                self.replicas.note_partition(replica, self.producer.partition(self.requests, key))
