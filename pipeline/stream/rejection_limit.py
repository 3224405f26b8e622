"""Detects that too much of a partition is unusable: then something is wrong with the worker or with all senders.

A pure rule on counts. A few bad senders are rejected and counted indefinitely, however much they send: the rule
requires that nearly all messages of nearly all senders are unusable. A sender is identified by its message key and
remembered for a while, because a burst from one bad sender may crowd out the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SPAN_MESSAGES = 2_000
"""Number of messages over which the share is computed."""

REMEMBERED_MS = 30_000
"""How long, in broker time, a silent sender still counts with its last result: agents send every second."""


@dataclass(slots=True)
class Share:
    """How many of some messages, and of their senders, are unusable."""

    messages: int = 0
    rejected: int = 0
    usable_from: dict[int, bool] = field(default_factory=dict)
    """By sender (a hash of its key): whether any of its messages was usable."""
    silent: int = 0
    silent_unusable: int = 0
    """Senders that sent nothing in the meantime, and how many of them had sent only unusable messages before."""

    def count(self, senders: Iterable[tuple[bytes | None, bool]]) -> None:
        """Count messages, given the key of each and whether it is usable."""
        for key, usable in senders:
            sender = hash(key)
            self.messages += 1
            self.rejected += not usable
            self.usable_from[sender] = usable or self.usable_from.get(sender, False)

    def is_unusable(self, max_share: float) -> bool:
        """Whether more than `max_share` of the messages, and of the senders, are unusable."""
        senders = len(self.usable_from) + self.silent
        unusable = len(self.usable_from) - sum(self.usable_from.values()) + self.silent_unusable
        return self.rejected > max_share * self.messages and unusable > max_share * senders

    def __str__(self) -> str:
        senders = len(self.usable_from)
        return f"{self.rejected} of the last {self.messages} messages, from {senders} senders, were rejected"


class RejectionLimit:
    """Judges one partition, one span of messages at a time; a `max_share` of 1 is never exceeded."""

    def __init__(self, max_share: float) -> None:
        self._max_share = max_share
        self._share = Share()
        self._heard: dict[int, tuple[int, bool]] = {}
        """By sender: when it last sent, and whether any message of its last span was usable."""

    def count(self, senders: Sequence[tuple[bytes | None, bool]], at_ms: int) -> Share | None:
        """Count the messages read up to `at_ms`; when a span is full, returns its share and starts the next."""
        share = self._share
        share.count(senders)
        for sender in {hash(key) for key, _ in senders}:
            self._heard[sender] = at_ms, share.usable_from[sender]
        if share.messages < SPAN_MESSAGES:
            return None
        self._share = Share()
        self._heard = {
            sender: heard for sender, heard in self._heard.items() if heard[0] > at_ms - REMEMBERED_MS
        }
        silent = [usable for sender, (_, usable) in self._heard.items() if sender not in share.usable_from]
        share.silent, share.silent_unusable = len(silent), silent.count(False)
        return share

    def is_exceeded_by(self, share: Share) -> bool:
        """Whether so much is rejected that an operator should check before reading continues."""
        return share.is_unusable(self._max_share)
