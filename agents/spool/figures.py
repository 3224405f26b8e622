"""What the spool tells of itself: figures, for the totals, the snapshot and the log. No I/O but logging."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

logger = logging.getLogger("endpoint_analytics")


@dataclass(frozen=True, slots=True)
class SpoolFigures:
    """What is on disk: own records that wait, by topic suffix, and bytes; bytes taken over from dead processes;
    drops by topic suffix and reason; records lost to damage, which are among the drops; the disk's last error,
    while it lasts.
    """

    waiting: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    adopted_bytes: int = 0
    damaged: int = 0
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    error: str = ""

    @property
    def records(self) -> int:
        """Own records that wait for Kafka."""
        return sum(self.waiting.values())


@dataclass(slots=True)
class SpoolTally:
    """What the spool in `base` lost since the start, and whether the disk refuses. Trouble is told once."""

    base: Path
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    damaged: int = 0
    error: str = ""

    def count_dropped(self, topic: str, reason: str, records: int) -> None:
        """Count records of the topic as given up."""
        if records:
            reasons = self.dropped.setdefault(topic, {})
            reasons[reason] = reasons.get(reason, 0) + records

    def count_damaged(self, topic: str, reason: str, records: int) -> None:
        """Count records of the topic as lost to damage."""
        if records and not self.damaged:
            logger.warning(
                "files of the spool in %s are damaged; what was in them is counted as lost", self.base
            )
        self.damaged += records
        self.count_dropped(topic, reason, records)

    def refuse(self, error: OSError) -> None:
        """The disk takes nothing now."""
        if not self.error:
            logger.warning("the spool in %s takes no messages, they stay in memory: %s", self.base, error)
        self.error = str(error)

    def accept(self) -> None:
        """The disk takes messages."""
        if self.error:
            self.error = ""
            logger.info("the spool in %s takes messages again", self.base)
