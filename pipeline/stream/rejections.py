"""When too much of a partition cannot be used: then something is wrong with us or with all its senders.

A pure rule on counts. A few bad senders are rejected and counted for as long as they like, however much they send:
nearly all messages of nearly all senders must be unusable. A sender is known by the key of its messages, and remembered
for a while: in a burst of one that is bad the others do not get a word in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SPAN_MESSAGES = 2_000
"""Messages over which the share is taken."""

REMEMBERED_MS = 30_000
"""So long, by the broker's time, a sender that is silent counts as it was: agents send every second."""


@dataclass(slots=True)
class Share:
    """How much of some messages is usable."""

    messages: int = 0
    rejected: int = 0
    usable_from: dict[int, bool] = field(default_factory=dict)
    """By sender (a hash of its key): whether any message of it could be used."""
    silent: int = 0
    silent_useless: int = 0
    """Senders that sent nothing meanwhile, and how many of them were of no use before."""

    def count(self, senders: Iterable[tuple[bytes | None, bool]]) -> None:
        """Count messages: the key of each, and whether it can be used."""
        for key, usable in senders:
            sender = hash(key)
            self.messages += 1
            self.rejected += not usable
            self.usable_from[sender] = usable or self.usable_from.get(sender, False)

    def is_unusable(self, max_share: float) -> bool:
        """Say whether more than `max_share` of the messages, and of the senders, are of no use."""
        senders = len(self.usable_from) + self.silent
        useless = len(self.usable_from) - sum(self.usable_from.values()) + self.silent_useless
        return self.rejected > max_share * self.messages and useless > max_share * senders

    def __str__(self) -> str:
        senders = len(self.usable_from)
        return f"{self.rejected} of the last {self.messages} messages, from {senders} senders, were rejected"


class RejectionLimit:
    """Judges one partition, span by span; a `max_share` of 1 never objects."""

    def __init__(self, max_share: float) -> None:
        self._max_share = max_share
        self._share = Share()
        self._heard: dict[int, tuple[int, bool]] = {}
        """By sender: when it was last heard, and whether any of its last span could be used."""

    def count(self, senders: Sequence[tuple[bytes | None, bool]], at_ms: int) -> Share | None:
        """Count a read up to `at_ms`; returns the share of a span when one is full, and begins the next."""
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
        share.silent, share.silent_useless = len(silent), silent.count(False)
        return share

    def objects(self, share: Share) -> bool:
        """Say whether so much is rejected that somebody should look before it goes on."""
        return share.is_unusable(self._max_share)
