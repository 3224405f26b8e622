"""The reader's state of one partition, in one generation of the consumer group."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.core.partition import PartitionFold, Rejection
from endpoint_analytics.pipeline.core.row_block import RowBlock
from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.store.paused_partitions import PausedPartition
from endpoint_analytics.pipeline.stream.rejection_limit import RejectionLimit

Message = TypeVar("Message")


class Delivery(NamedTuple):
    """A message as Faust delivered it."""

    partition: int
    generation: int
    record: Record
    key: bytes | None = None


class LogSpan(NamedTuple):
    """The offset range [`start`, `end`) of a partition's Kafka log, and the committed offset, if known."""

    start: int
    end: int
    committed: int | None

    @property
    def next_offset(self) -> int:
        """Return the offset at which reading begins, as far as known."""
        return self.start if self.committed is None else self.committed


@dataclass(slots=True)
class PartitionReading(Generic[Message]):
    """A partition as read in one generation of the consumer group, starting at the committed offset."""

    generation: int
    fold: PartitionFold[Message]
    limit: RejectionLimit
    state: PausedPartition | None
    """Its current or former pause, if any."""
    read_through: int
    """The newest offset that was read or need not be read."""
    placed: bool = False
    """Whether it was checked which stored chunk contains the first message, if any."""
    acknowledged: int = -1
    """The newest offset that was acknowledged."""
    read_append_ms: int | None = None
    """When the broker appended the newest message read."""
    read_at: float = field(default_factory=time.monotonic)
    refetched_from: int = -1
    """The missing offset from which it was last fetched again."""
    refetched_at: float = 0.0
    rows: list[Row | RowBlock] = field(default_factory=list)
    """Rows taken from the fold but not stored yet."""
    rejected: list[Rejection] = field(default_factory=list)
    """Rejections taken from the fold but not sent yet."""

    @property
    def next_offset(self) -> int:
        """Return the offset to read next, ignoring holes."""
        return self.read_through + 1
