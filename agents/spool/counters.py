"""The spool's own counters, for the totals, the agent's snapshot and the application log. No I/O except logging."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

logger = logging.getLogger("endpoint_analytics")


@dataclass(frozen=True, slots=True)
class SpoolCounters:
    """What is on disk, and what was lost.

    `waiting`: own records by topic suffix; `bytes`: own bytes; `adopted_bytes`: bytes taken over from dead processes;
    `dropped`: drops by topic suffix and reason; `damaged`: records lost to damage, included in the drops; `error`: the
    disk's current error, if any.
    """

    waiting: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    adopted_bytes: int = 0
    damaged: int = 0
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    error: str = ""

    @property
    def records(self) -> int:
        """Number of own records waiting for Kafka."""
        return sum(self.waiting.values())


@dataclass(slots=True)
class SpoolTally:
    """What the spool in `base` has lost since the start, and whether the disk fails. Logs each problem once."""

    base: Path
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    damaged: int = 0
    error: str = ""

    def count_dropped(self, topic: str, reason: str, records: int) -> None:
        """Count records of the topic as dropped."""
        if records:
            reasons = self.dropped.setdefault(topic, {})
            reasons[reason] = reasons.get(reason, 0) + records

    def count_damaged(self, topic: str, reason: str, records: int) -> None:
        """Count records of the topic as lost to damage."""
        if records and not self.damaged:
            logger.warning("spool files in %s are damaged; their records are counted as lost", self.base)
        self.damaged += records
        self.count_dropped(topic, reason, records)

    def refuse(self, error: OSError) -> None:
        """The disk failed."""
        if not self.error:
            logger.warning("cannot write to the spool in %s, messages stay in memory: %s", self.base, error)
        self.error = str(error)

    def accept(self) -> None:
        """The disk works."""
        if self.error:
            self.error = ""
            logger.info("the spool in %s is writable again", self.base)
