"""A part of the spool: one boot's claimed subdirectory, with one spool log per topic. Used by one thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from endpoint_analytics.agents.spool.claim import Claim
from endpoint_analytics.agents.spool.segments import Segment, SpoolLog
from endpoint_analytics.schemas.topics import AGENT_TOPICS, REPLICAS


@dataclass(frozen=True, slots=True)
class SpoolPart:
    """One boot's subdirectory; `logs` is keyed by topic suffix."""

    claim: Claim
    logs: dict[str, SpoolLog]

    @property
    def size_bytes(self) -> int:
        """Total size of its files."""
        return sum(log.size_bytes for log in self.logs.values())

    @property
    def is_empty(self) -> bool:
        """Whether it has no files."""
        return not any(log.segments for log in self.logs.values())

    @property
    def waiting(self) -> dict[str, int]:
        """Records waiting for Kafka, by topic suffix; topics without any are left out."""
        return {topic: number for topic, log in self.logs.items() if (number := log.waiting)}

    def oldest(self, sending_through: Callable[[str], int]) -> tuple[SpoolLog, Segment] | None:
        """Return the segment to drop first, and its log; None if none may be dropped.

        Replica states are dropped last: they are few and small, and are never reported again.
        """
        found = [
            (log, segment)
            for topic, log in self.logs.items()
            if (segment := log.droppable(sending_through(topic))) is not None
        ]
        return min(found, key=lambda item: (item[0].topic == REPLICAS.suffix, item[1].born), default=None)

    def close(self) -> None:
        """Release it; what Kafka does not have stays for the next process."""
        for log in self.logs.values():
            log.close()
        if self.is_empty:
            self.claim.remove()
        else:
            self.claim.release()


def open_part(claim: Claim, segment_bytes: int) -> SpoolPart:
    """Return the claimed part with its contents. On error, releases the claim and raises OSError."""
    try:
        suffixes = (topic.suffix for topic in AGENT_TOPICS)
        logs = {suffix: SpoolLog(claim.directory, suffix, segment_bytes) for suffix in suffixes}
    except OSError:
        claim.release()
        raise
    return SpoolPart(claim, logs)
