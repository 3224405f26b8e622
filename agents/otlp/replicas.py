"""The replicas that spans have told of: their batches, heartbeats and states. Pure: `now_us` is an argument.

Each receiver process numbers the batches of a replica under a boot of its own, so several receivers add up. A replica
is running as long as spans of it arrive; between them, empty batches say that the receiver still listens. One without
spans for `idle_us` is reported as terminated *at the time of its last span*: if another receiver had a later one, its
own report is newer and wins. That is why `running` is reported again and again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import uuid4

from msgspec.structs import replace

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.log.batching import ReaderState, next_batch, take
from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.agents.otlp.identity import Identity
from endpoint_analytics.schemas.codec import RequestEncoding, encode, encode_requests
from endpoint_analytics.schemas.identity import partition_key
from endpoint_analytics.schemas.metrics import HEARTBEAT_TIMEOUT_S
from endpoint_analytics.schemas.replicas import ReplicaState, State
from endpoint_analytics.schemas.requests import Totals

HEARTBEAT_US = HEARTBEAT_TIMEOUT_S * 1_000_000 // 4
RUNNING_AGAIN_US = 60_000_000
"""How often `running` is reported again: for so long, another receiver's report of the end may win wrongly."""


class Message(NamedTuple):
    """A message of the requests or replicas topic; `replica` is whose it is."""

    key: bytes
    value: bytes
    replica: Identity


@dataclass(slots=True)
class Replica:
    """One replica: the state of its boot, and when it was last heard of, in microseconds since 1970.

    `heard_us` is by the receiver's clock, `last_end_us` when the last request ended, by the sender's. `partition` is
    where the boot's batches go, also when partitions are added.
    """

    config: AgentConfig
    key: bytes
    state: ReaderState
    heard_us: int
    last_end_us: int
    running_us: int = 0
    sent_us: int = 0
    partition: int | None = None
    dropped: Counter[str] = field(default_factory=Counter)


class Replicas:
    """All replicas of one receiver. What its methods return must be sent, in order, before the next call.

    `states`: whether to report states; without, heartbeats go on for `idle_us`, and only then is a replica forgotten.
    """

    def __init__(self, idle_us: int, *, states: bool = True, encoding: RequestEncoding = "packed") -> None:
        self._encoding = encoding
        self._idle_us = idle_us
        self._states = states
        self._replicas: dict[Identity, Replica] = {}

    def __len__(self) -> int:
        return len(self._replicas)

    def __contains__(self, replica: Identity) -> bool:
        return replica in self._replicas

    @property
    def totals(self) -> Mapping[tuple[Identity, str], Totals]:
        """The totals of each replica that is known now, by its boot."""
        return {(who, each.state.boot_id): each.state.totals for who, each in self._replicas.items()}

    def note_dropped(self, replica: Identity, dropped: Mapping[str, int]) -> None:
        """Count rejected spans of a replica, if it is known, in its next batch."""
        if (found := self._replicas.get(replica)) is not None:
            found.dropped.update(dropped)

    def partition(self, replica: Identity) -> int | None:
        """Return where the batches of a replica's boot go, None if that was not said."""
        found = self._replicas.get(replica)
        return None if found is None else found.partition

    def meet(self, replica: Identity, partition: int, now_us: int) -> None:
        """Begin a boot, whose batches go to `partition`, unless the replica is known."""
        if replica not in self._replicas:
            self._replicas[replica] = _new(replica, now_us)
            self._replicas[replica].partition = partition

    def note_lost_batch(self, replica: Identity) -> None:
        """A batch of the replica was too large for Kafka: its next one says so."""
        if (found := self._replicas.get(replica)) is not None:
            totals = found.state.totals
            lost = {**totals.dropped_batches, "too_large": totals.dropped_batches.get("too_large", 0) + 1}
            found.state = replace(found.state, totals=replace(totals, dropped_batches=lost))

    def batches(self, replica: Identity, requests: list[Logged], now_us: int) -> list[Message]:
        """Return the batches of these requests, oldest first."""
        found = self._replicas.get(replica)
        if found is None:
            found = self._replicas[replica] = _new(replica, now_us)
        requests = sorted(requests, key=_end_us)
        found.heard_us = now_us
        if requests:
            found.last_end_us = max(found.last_end_us, min(_end_us(requests[-1]), now_us))
        messages: list[Message] = []
        while requests:
            number = take(requests, now_us)
            messages.append(self._batch(replica, found, requests[:number], now_us))
            requests = requests[number:]
        return messages

    def running(self, replica: Identity) -> list[Message]:
        """Return the report that the replica runs, at the time of its last request, if one is due."""
        found = self._replicas[replica]
        if not self._states or found.last_end_us - found.running_us < RUNNING_AGAIN_US:
            return []
        found.running_us = found.last_end_us
        return [_state(replica, found, found.last_end_us, "running", "")]

    def heartbeats(self, now_us: int) -> list[Message]:
        """Return an empty batch for each replica that has sent none for a while."""
        return [
            self._batch(replica, found, [], now_us)
            for replica, found in self._replicas.items()
            if now_us - found.sent_us >= HEARTBEAT_US
        ]

    def departed(self, now_us: int) -> Iterator[tuple[Identity, list[Message]]]:
        """Forget the replicas without spans for too long; yield each with the report of its end."""
        for replica, found in list(self._replicas.items()):
            if now_us - found.heard_us >= self._idle_us:
                del self._replicas[replica]
                yield (
                    replica,
                    self._end(
                        replica, found, f"no spans for {self._idle_us // 1_000_000} s after its last request"
                    ),
                )

    def stop(self) -> list[Message]:
        """Forget all replicas; return the reports that nothing more will be heard of them here."""
        messages = [
            message
            for replica, found in self._replicas.items()
            for message in self._end(replica, found, "the OTLP receiver was stopped")
        ]
        self._replicas.clear()
        return messages

    def _batch(self, replica: Identity, found: Replica, requests: list[Logged], now_us: int) -> Message:
        batch, found.state = next_batch(found.config, found.state, requests, found.dropped, now_us)
        found.dropped = Counter()
        found.sent_us = now_us
        return Message(found.key, encode_requests(batch, self._encoding), replica)

    def _end(self, replica: Identity, found: Replica, why: str) -> list[Message]:
        return [_state(replica, found, found.last_end_us + 1, "terminated", why)] if self._states else []


def _new(replica: Identity, now_us: int) -> Replica:
    namespace, endpoint, replica_id = replica
    config = AgentConfig(namespace=namespace, endpoint=endpoint, replica_id=replica_id, hardware=False)
    return Replica(config, partition_key(*replica), ReaderState(uuid4().hex), now_us, 0)


def _state(replica: Identity, found: Replica, at_us: int, state: State, reason: str) -> Message:
    namespace, endpoint, replica_id = replica
    message = ReplicaState(
        namespace=namespace, endpoint=endpoint, replica_id=replica_id, at_us=at_us, state=state, reason=reason
    )
    return Message(found.key, encode(message), replica)


def _end_us(request: Logged) -> int:
    return request.end_us or 0
