"""What the fold remembers of each boot of a replica: which batches came, and cumulative counts.

The memory is as of a chunk's start plus the open chunk; after a restart it is taken up from the rows of
`boot_states` that earlier chunks left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from endpoint_analytics.schemas.requests import Totals

OVERFLOW = "__overflow__"
"""Stands for all names beyond a bound; no name that a sender may use begins so."""

MAX_GAPS = 32
"""Ranges of missing batches kept of a boot; a batch of a forgotten range would count as a duplicate."""

MAX_BOOTS = 20_000
"""Boots of one stream and partition kept in memory from chunk to chunk."""


class BootKey(NamedTuple):
    """One start of one replica's agent."""

    namespace: str
    endpoint: str
    replica_id: str
    boot_id: str


@dataclass(slots=True)
class Boot:
    """The state of one boot; times in microseconds since 1970 unless named otherwise."""

    key: BootKey
    next_seq: int = 0
    last_seq: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    batches: int = 0
    duplicates: int = 0
    missing: int = 0
    version: int = 0
    first_us: int = 0
    last_us: int = 0
    last_append_ms: int = 0
    arrived: int = 0
    finished: int = 0
    aborted_pending: int = 0
    aborted_streaming: int = 0
    status: dict[int, int] = field(default_factory=dict)
    latency_sum_us: int = 0
    ttfb_count: int = 0
    ttfb_sum_us: int = 0
    pending: int = 0
    streaming: int = 0
    oldest_pending_us: int = 0
    totals: Totals = field(default_factory=Totals)

    @property
    def is_overflow(self) -> bool:
        """Whether it stands for many boots: of those, seq and levels say nothing together."""
        return self.key.replica_id == OVERFLOW

    def accept(self, seq: int) -> bool:
        """Count the batch `seq`: True when it is new, False when it was counted before."""
        if self.is_overflow:
            self.batches += 1
            return True
        if seq == self.next_seq:
            self.next_seq = seq + 1
        elif seq > self.next_seq:
            self.gaps.append((self.next_seq, seq))
            del self.gaps[:-MAX_GAPS]
            self.missing += seq - self.next_seq
            self.next_seq = seq + 1
        elif not self._fill(seq):
            self.duplicates += 1
            return False
        self.batches += 1
        return True

    def _fill(self, seq: int) -> bool:
        for index, (start, end) in enumerate(self.gaps):
            if start <= seq < end:
                left = [(start, seq)] if start < seq else []
                right = [(seq + 1, end)] if seq + 1 < end else []
                self.gaps[index : index + 1] = left + right
                del self.gaps[:-MAX_GAPS]
                self.missing -= 1
                return True
        return False

    def saw(self, seq: int, start_us: int, end_us: int) -> bool:
        """Note a folded batch; True when it is the newest by seq (the agent's clock may have jumped)."""
        self.first_us = min(self.first_us, start_us) if self.first_us else start_us
        if self.is_overflow:
            self.last_us = max(self.last_us, end_us)
            return False
        if seq < self.last_seq:
            return False
        self.last_seq = seq
        self.last_us = end_us
        return True


class Boots:
    """The boots of one stream and partition that are in memory.

    A boot that was quiet for long is forgotten, and so are the quietest beyond MAX_BOOTS, to keep memory
    bounded: when one speaks again its state is read back like any other unknown boot's.
    """

    __slots__ = ("_boots", "_dirty")

    def __init__(self) -> None:
        self._boots: dict[BootKey, Boot] = {}
        self._dirty: dict[BootKey, Boot] = {}

    def __contains__(self, key: BootKey) -> bool:
        return key in self._boots

    def __getitem__(self, key: BootKey) -> Boot:
        return self._boots[key]

    def restore(self, boot: Boot) -> None:
        """Take up a boot as earlier chunks left it, or as new."""
        self._boots.setdefault(boot.key, boot)

    def touch(self, boot: Boot, offset: int, append_ms: int) -> None:
        """Note that the message at `offset` changed the boot."""
        boot.version = offset
        boot.last_append_ms = append_ms
        self._dirty[boot.key] = boot

    def take_dirty(self) -> list[Boot]:
        """Return the boots that changed since the last call."""
        dirty = list(self._dirty.values())
        self._dirty.clear()
        return dirty

    def forget_before(self, append_ms: int) -> None:
        """Forget the boots whose newest message was appended before `append_ms`, and are not dirty."""
        if len(self._boots) > MAX_BOOTS:
            newest = sorted((boot.last_append_ms for boot in self._boots.values()), reverse=True)
            append_ms = max(append_ms, newest[MAX_BOOTS])
        quiet = [
            key
            for key, boot in self._boots.items()
            if boot.last_append_ms < append_ms and key not in self._dirty
        ]
        for key in quiet:
            del self._boots[key]
