"""Turns readings of exports into requests by replica: each span once, each rejection counted once, with its reason.

Pure, but remembers recent spans.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field

from msgspec.structs import replace

from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.agents.otlp.identity import Identity
from endpoint_analytics.agents.otlp.memory import Memory
from endpoint_analytics.agents.otlp.part import Part
from endpoint_analytics.agents.otlp.reading import FoundRequest, Reading, ResourceReading
from endpoint_analytics.agents.otlp.roster import Roster

logger = logging.getLogger("endpoint_analytics")

MAX_WARNED = 1_000
_IDS = 24
"""Bytes of a trace id and a span id."""


@dataclass(slots=True)
class Received:
    """What one export brought: new requests by replica, and the counts of all other spans.

    `repeats` are parts of earlier exports that wait for Kafka, and that this export brought again. `rejected` spans are
    those that the exporter is to be told of; `rejected_again` are those of them that were counted before. `dropped` has
    the new rejections of replicas that this export brings no request of.
    """

    parts: dict[Identity, Part] = field(default_factory=dict)
    repeats: set[Part] = field(default_factory=set)
    dropped: dict[Identity, Counter[str]] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_again: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    repeated: int = 0
    ignored: int = 0
    sampled: int = 0


class Intake:
    """Takes exports one after the other."""

    def __init__(self, memory: Memory, roster: Roster) -> None:
        self._memory = memory
        self._roster = roster
        self._warned: set[tuple[str, str]] = set()

    def take(self, reading: Reading) -> Received:
        """Return what an export brings; its spans are then remembered as waiting."""
        received = Received(ignored=reading.ignored)
        for resource in reading.resources:
            for key, started_ns in resource.starts:
                self._memory.starts.put(key, started_ns)
            self._take_resource(resource, received)
        for replica, part in received.parts.items():
            part.dropped.update(received.dropped.pop(replica, {}))
        return received

    def _take_resource(self, resource: ResourceReading, received: Received) -> None:
        replica = resource.replica
        refusal = replica if isinstance(replica, str) else self._roster.refusal(replica)
        for found in resource.requests:
            reason = refusal or found.fault
            if isinstance(replica, Identity) and self._is_repeated(found, received):
                continue
            if reason:
                self._reject(found, reason, replica, received)
            elif isinstance(replica, Identity):
                self._accept(found, replica, received)

    def _is_repeated(self, found: FoundRequest, received: Received) -> bool:
        part = self._memory.part_of(found.key)
        if part is None and not self._memory.is_stored(found.key):
            return False
        if part is not None and received.parts.get(part.replica) is not part:
            received.repeats.add(part)
        received.repeated += 1
        return True

    def _reject(self, found: FoundRequest, reason: str, replica: Identity | str, received: Received) -> None:
        received.rejected[reason] += 1
        if _has_ids(found) and not self._memory.is_rejection_new(found.key, reason):
            received.rejected_again[reason] += 1
        elif isinstance(replica, Identity):
            received.dropped.setdefault(replica, Counter())[reason] += 1

    def _accept(self, found: FoundRequest, replica: Identity, received: Received) -> None:
        part = received.parts.get(replica)
        if part is None:
            part = received.parts[replica] = Part(replica)
            self._roster.add(replica)
        part.requests.append(self._with_wait(found, part))
        self._memory.add(found.key, part)
        received.accepted += 1
        if found.share is not None and found.share < 1:
            received.sampled += 1
            self._warn_of_sampling(replica, found.share)

    def _with_wait(self, found: FoundRequest, part: Part) -> Logged:
        """Return the request with the time until its response started, if another span told that."""
        started_ns = self._memory.starts.pop(found.key)
        if started_ns is None:
            return found.request
        part.starts[found.key] = started_ns
        return replace(found.request, wait_us=max(started_ns - found.start_ns, 0) // 1_000)

    def _warn_of_sampling(self, replica: Identity, share: float) -> None:
        endpoint: tuple[str, str] = replica[:2]
        if endpoint not in self._warned and len(self._warned) < MAX_WARNED:
            self._warned.add(endpoint)
            logger.warning(
                "%s/%s: its traces are sampled (ot=th in tracestate: %.3g %% are kept), so only those are counted: "
                "export all server spans",
                *endpoint,
                share * 100,
            )


def _has_ids(found: FoundRequest) -> bool:
    """Whether the span can be told from others."""
    return found.fault != "no_ids" and len(found.key) >= _IDS
