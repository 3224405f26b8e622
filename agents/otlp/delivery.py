"""Delivers what was received: each part to the partition of its replica, which a sender of its own serves.

The senders of the spans are the buffer for longer outages: they get an answer only when all their parts are stored.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from endpoint_analytics.agents.delivery.partition_senders import PartitionSenders
from endpoint_analytics.agents.delivery.producer import Producer
from endpoint_analytics.agents.otlp.identity import Identity
from endpoint_analytics.agents.otlp.intake import Received
from endpoint_analytics.agents.otlp.memory import Memory
from endpoint_analytics.agents.otlp.part import Part
from endpoint_analytics.agents.otlp.partition_delivery import PartitionDelivery, confirm
from endpoint_analytics.agents.otlp.replicas import Replicas
from endpoint_analytics.agents.otlp.roster import Roster
from endpoint_analytics.agents.otlp.state_sender import StateSender
from endpoint_analytics.schemas.identity import partition_key

MAX_WAITING = 200_000


class Delivery:
    """Sends to the topic `requests`, and states by `states`; `make_replicas` makes those of one partition.

    `max_waiting` bounds the requests that wait, and so does the memory: each must still be remembered when Kafka has
    stored all of them, and exporters repeat what they got no answer to. `now_us` is the clock.
    """

    def __init__(
        self,
        make_producer: Callable[[], Producer],
        requests: str,
        states: StateSender,
        make_replicas: Callable[[], Replicas],
        memory: Memory,
        roster: Roster,
        now_us: Callable[[], int],
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._requests = requests
        self._states = states
        self._make_replicas = make_replicas
        self._memory = memory
        self._roster = roster
        self._now_us = now_us
        self._max_waiting = min(max_waiting, memory.guaranteed)
        self._senders: PartitionSenders[Part] = PartitionSenders(requests, make_producer, self._open)
        self._deliveries: list[PartitionDelivery] = []
        self._routes: dict[Identity, int] = {}
        self._parts: Counter[Identity] = Counter()
        self._unrouted = 0
        self._stopping = False

    @property
    def waiting(self) -> int:
        """How many requests wait for Kafka."""
        return self._unrouted + sum(each.waiting for each in self._deliveries)

    @property
    def known(self) -> int:
        """How many replicas are known."""
        return len(self._roster)

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be put in."""
        return self._stopping or self.waiting >= self._max_waiting

    def has_room(self, number: int) -> bool:
        """Whether so many requests may be put in; any number if none waits."""
        return not self._stopping and (self.waiting == 0 or self.waiting + number <= self._max_waiting)

    def are_full(self, replicas: Iterable[Identity]) -> bool:
        """Whether too many requests wait for a partition of these replicas: as many as all may still put in.

        So one that stands still takes half of the queue, two take a third each, and the others always have as much.
        """
        free = self._max_waiting - self.waiting
        return any(each.waiting >= free for each in self._deliveries_of(replicas))

    def are_stalled(self, replicas: Iterable[Identity]) -> bool:
        """Whether Kafka stores nothing now for a partition of these replicas."""
        return any(each.is_stalled for each in self._deliveries_of(replicas))

    def put(self, received: Received) -> None:
        """Queue what was received; each part's `stored` says when Kafka has it, or that it never will."""
        loop = asyncio.get_running_loop()
        for replica, reasons in received.dropped.items():
            for each in self._deliveries_of([replica]):
                each.replicas.note_dropped(replica, reasons)
        for part in received.parts.values():
            part.stored = loop.create_future()
            self._parts[part.replica] += 1
            self._unrouted += len(part.requests)
            self._route(part)

    def take_back(self, received: Received) -> int:
        """Forget the parts that are not being sent yet; return how many requests these are."""
        taken = [part for part in received.parts.values() if self._take_back(part)]
        confirm(taken, stored=False)
        return sum(len(part.requests) for part in taken)

    def stop(self) -> None:
        """Let `run` end once everything that waits is sent, and is queued that the replicas end here."""
        self._stopping = True
        for each in self._deliveries:
            each.stop()
        self._senders.wake()

    async def run(self) -> None:
        """Send until stopped; when cancelled, what waits is not confirmed."""
        try:
            await self._senders.run(self._route, lambda: self._stopping)
        finally:
            confirm(self._senders.unrouted, stored=False)

    def _route(self, part: Part) -> None:
        partition = self._partition(part.replica)
        if partition is not None:
            self._routes[part.replica] = partition
            self._unrouted -= len(part.requests)
        self._senders.put(part, partition)

    def _partition(self, replica: Identity) -> int | None:
        """Return where the replica's boot is or will be."""
        known = self._routes.get(replica)
        return self._senders.partition(partition_key(*replica)) if known is None else known

    def _deliveries_of(self, replicas: Iterable[Identity]) -> Iterator[PartitionDelivery]:
        for replica in replicas:
            partition = self._partition(replica)
            sender = None if partition is None else self._senders.sender(partition)
            if isinstance(sender, PartitionDelivery):
                yield sender

    def _take_back(self, part: Part) -> bool:
        if self._senders.take_back(part):
            self._unrouted -= len(part.requests)
        elif not any(each.take_back(part) for each in self._deliveries_of([part.replica])):
            return False
        self._memory.release(part)
        self._done(part)
        known = any(part.replica in each.replicas for each in self._deliveries_of([part.replica]))
        if not known and not self._parts[part.replica]:
            self._forget(part.replica)
        return True

    def _settle(self, part: Part) -> None:
        self._memory.settle(part)
        self._done(part)

    def _done(self, part: Part) -> None:
        self._parts[part.replica] -= 1
        if not self._parts[part.replica]:
            del self._parts[part.replica]

    def _forget(self, replica: Identity) -> None:
        self._routes.pop(replica, None)
        self._roster.remove(replica)

    def _open(self, producer: Producer) -> PartitionDelivery:
        made = PartitionDelivery(
            self._requests,
            producer,
            self._states,
            self._make_replicas(),
            self._settle,
            self._forget,
            self._now_us,
        )
        self._deliveries.append(made)
        if self._stopping:
            made.stop()
        return made
