"""Which spans were here before, so that each counts once however often it is sent. Pure; used by one thread.

What waits for Kafka is never forgotten; of what Kafka has, and of what was rejected, the newest is remembered.
"""

from __future__ import annotations

from endpoint_analytics.agents.otlp.part import Part
from endpoint_analytics.agents.otlp.seen import Recent

MAX_RESPONSE_STARTS = 100_000
"""Response starts that wait for their server span, which another export may bring."""


class Memory:
    """`remember`: how many spans that Kafka has are recognized, and how many rejected ones."""

    def __init__(self, remember: int) -> None:
        self.guaranteed = max(remember // 2, 1)
        """How many of the newest spans that Kafka has are recognized in any case."""
        self.starts: Recent[int] = Recent(MAX_RESPONSE_STARTS)
        self._waiting: dict[bytes, Part] = {}
        self._stored: Recent[None] = Recent(remember)
        self._rejected: Recent[str] = Recent(remember)

    def part_of(self, key: bytes) -> Part | None:
        """Return the part with the span, if it waits for Kafka."""
        return self._waiting.get(key)

    def is_stored(self, key: bytes) -> bool:
        """Whether Kafka has the span."""
        return key in self._stored

    def is_rejection_new(self, key: bytes, reason: str) -> bool:
        """Whether the span was not rejected before for this reason; it is now."""
        if self._rejected.get(key) == reason:
            return False
        self._rejected.put(key, reason)
        return True

    def add(self, key: bytes, part: Part) -> None:
        """Remember a span that waits."""
        self._waiting[key] = part
        part.keys.append(key)

    def settle(self, part: Part) -> None:
        """Kafka has the part."""
        for key in part.keys:
            del self._waiting[key]
            self._stored.put(key, None)

    def release(self, part: Part) -> None:
        """The part was taken back: its spans may come again."""
        for key in part.keys:
            del self._waiting[key]
        for key, started_ns in part.starts.items():
            self.starts.put(key, started_ns)
