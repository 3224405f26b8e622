"""What the reader knows of one partition, in one generation of the consumer group."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.core.partition import PartitionFold, Rejection
from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.store.paused_partitions import PausedPartition
from endpoint_analytics.pipeline.stream.rejections import RejectionLimit

Message = TypeVar("Message")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as Faust delivered it."""

    partition: int
    generation: int
    record: Record
    key: bytes | None = None


class LogSpan(NamedTuple):
    """From where to before where a partition's log goes, and what is committed of it, as far as that is known."""

    start: int
    end: int
    committed: int | None

    @property
    def next_offset(self) -> int:
        """The offset at which reading begins, as far as it is known."""
        return self.start if self.committed is None else self.committed


@dataclass(slots=True)
class Reading(Generic[Message]):
    """A partition as read in one generation of the consumer group: begins at a committed offset."""

    generation: int
    fold: PartitionFold[Message]
    limit: RejectionLimit
    state: PausedPartition | None
    """What is known of it being paused, now or once."""
    read_through: int
    """The newest offset that was read, or that needs no reading."""
    placed: bool = False
    """Whether it is known which stored chunk holds the first message, if any."""
    acknowledged: int = -1
    """The newest offset that was acknowledged."""
    read_append_ms: int | None = None
    """When the broker appended the newest that was read."""
    read_at: float = field(default_factory=time.monotonic)
    sought: int = -1
    """The offset from which it was asked for again, as it was missing."""
    sought_at: float = 0.0
    rows: list[Row] = field(default_factory=list)
    """Rows that were taken and are not stored yet."""
    rejected: list[Rejection] = field(default_factory=list)
    """Rejections that were taken and are not sent yet."""

    @property
    def next_offset(self) -> int:
        """The offset that is read next, but for holes."""
        return self.read_through + 1
