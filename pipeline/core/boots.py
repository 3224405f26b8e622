"""The fold's state of each boot of a replica: which batches arrived, and cumulative counts.

The state is that at the start of a chunk plus the open chunk. It is stored in `boots` as it changes, and in
`boot_states` when a chunk closes; after a restart it is restored from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from endpoint_analytics.schemas.requests import Totals

OVERFLOW = "__overflow__"
"""Stands for all names beyond a limit; no valid name begins like this."""

MAX_GAPS = 32
"""Ranges of missing batches kept per boot; a batch from a forgotten range would count as a duplicate."""

RECENT = 16
"""Newest batches of a boot whose ends are kept, to tell a resent batch from a different one with the same number."""

MAX_REMEMBERED_BOOTS = 20_000
"""Boots of one stream and partition kept in memory between chunks."""


class BootKey(NamedTuple):
    """One start of one replica's agent."""

    namespace: str
    endpoint: str
    replica_id: str
    boot_id: str


class Verdict(Enum):
    """What a batch is to a process, by its number: new, resent, from another process, or from before its first one."""

    NEW = "new"
    AGAIN = "again"
    OTHER = "other"
    EARLIER = "earlier"


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
    recent_ends: list[int] = field(default_factory=list)
    """End times of the batches before `next_seq`, in microseconds of the sender's clock; 0 for one not received."""
    stepped_back: bool = False
    """Whether the sender's clock stepped back: then the time of an old batch is meaningless."""
    copies: int = 0
    """Other processes that sent under its boot_id: see `copies`."""
    conflicts: int = 0
    """Batches of processes beyond MAX_COPIES, which are not counted."""
    copy_of: str = ""
    """For a copy, the boot_id that it was sent under."""
    begin_seq: int = 0
    """Its first seq: not 0 for a copy."""
    inherited: Totals = field(default_factory=Totals)
    """Its totals when the process was copied."""

    @property
    def is_overflow(self) -> bool:
        """Whether it stands for many boots, whose combined seq and levels are meaningless."""
        return self.key.replica_id == OVERFLOW

    def classify(self, seq: int, end_us: int) -> Verdict:
        """Return what the batch `seq`, whose interval ends at `end_us`, is to this process. Changes nothing."""
        if seq >= self.next_seq or self.is_overflow or any(start <= seq < end for start, end in self.gaps):
            return Verdict.NEW
        if seq < self.begin_seq:
            return Verdict.EARLIER
        index = seq - self.next_seq + len(self.recent_ends)
        if index >= 0:
            return Verdict.AGAIN if self.recent_ends[index] in (0, end_us) else Verdict.OTHER
        # Older than all remembered batches, so it should have ended before them.
        oldest_us = next((end for end in self.recent_ends if end), 0)
        later = oldest_us and end_us > oldest_us and not self.stepped_back
        return Verdict.OTHER if later else Verdict.AGAIN

    def knows(self, seq: int) -> bool:
        """Whether the end of the batch `seq` is remembered."""
        index = seq - self.next_seq + len(self.recent_ends)
        return 0 <= index < len(self.recent_ends) and self.recent_ends[index] != 0

    def accept(self, seq: int, end_us: int = 0) -> bool:
        """Count the batch `seq`; returns True if it is new, False if it was counted before."""
        if self.is_overflow:
            self.batches += 1
            return True
        if seq >= self.next_seq:
            if seq > self.next_seq:
                self.gaps.append((self.next_seq, seq))
                del self.gaps[:-MAX_GAPS]
                self.missing += seq - self.next_seq
            self._remember(seq, end_us)
            self.next_seq = seq + 1
            self.batches += 1
            return True
        if seq < self.begin_seq:
            if seq + 1 < self.begin_seq:
                self.gaps.append((seq + 1, self.begin_seq))
                del self.gaps[:-MAX_GAPS]
                self.missing += self.begin_seq - seq - 1
            self.begin_seq = seq
            if self.next_seq - seq <= RECENT:
                self.recent_ends[:0] = [0] * (self.next_seq - seq - len(self.recent_ends))
        elif not self._fill(seq):
            self.duplicates += 1
            return False
        if (index := seq - self.next_seq + len(self.recent_ends)) >= 0:
            self.recent_ends[index] = end_us
        self.batches += 1
        return True

    def _remember(self, seq: int, end_us: int) -> None:
        ends = self.recent_ends
        newest_us = ends[-1] if ends else 0
        if not newest_us:
            newest_us = next((end for end in reversed(ends) if end), 0)
        if end_us < newest_us:
            self.stepped_back = True
        if seq > self.next_seq:
            ends += [0] * min(seq - self.next_seq, RECENT)
        ends.append(end_us)
        if len(ends) > RECENT:
            del ends[:-RECENT]

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
        """Note a folded batch; returns True if it is the newest by seq (the agent's clock may have jumped)."""
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

    To bound memory, boots that were silent for long are forgotten, and so are the longest silent beyond the limit.
    When such a boot sends again, its state is read back like that of any unknown boot.
    """

    __slots__ = ("_boots", "_dirty", "_unclosed")

    def __init__(self) -> None:
        self._boots: dict[BootKey, Boot] = {}
        self._dirty: dict[BootKey, Boot] = {}
        self._unclosed: dict[BootKey, Boot] = {}

    def __contains__(self, key: BootKey) -> bool:
        return key in self._boots

    def __getitem__(self, key: BootKey) -> Boot:
        return self._boots[key]

    def restore(self, boot: Boot) -> None:
        """Add a boot with its state from earlier chunks, or as new."""
        self._boots.setdefault(boot.key, boot)

    def touch(self, boot: Boot, offset: int, append_ms: int) -> None:
        """Note that the message at `offset` changed the boot."""
        boot.version = offset
        boot.last_append_ms = append_ms
        self._dirty[boot.key] = self._unclosed[boot.key] = boot

    def take_dirty(self) -> list[Boot]:
        """Return the boots that changed since the last call of this or of `take_unclosed`."""
        dirty = list(self._dirty.values())
        self._dirty.clear()
        return dirty

    def take_unclosed(self) -> list[Boot]:
        """Return the boots that changed since the last call."""
        unclosed = list(self._unclosed.values())
        self._unclosed.clear()
        self._dirty.clear()
        return unclosed

    def forget_before(self, append_ms: int) -> None:
        """Forget boots without changes to store whose newest message was appended before `append_ms`."""
        if len(self._boots) > MAX_REMEMBERED_BOOTS:
            newest = sorted((boot.last_append_ms for boot in self._boots.values()), reverse=True)
            append_ms = max(append_ms, newest[MAX_REMEMBERED_BOOTS])
        silent = [
            key
            for key, boot in self._boots.items()
            if boot.last_append_ms < append_ms and key not in self._unclosed
        ]
        for key in silent:
            del self._boots[key]
