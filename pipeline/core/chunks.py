"""How a partition's Kafka log is divided into chunks: a rule on offsets and append times, and nothing else.

A chunk is identified by the offset of its first message. The same log gives the same chunks to every reader that starts
at a chunk's first message; offsets are committed only there. A chunk is several windows long, so that few windows lie
in two chunks, and the state of a boot is stored once for many of its messages.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from endpoint_analytics.schemas.limits import MAX_TIME_US, MIN_TIME_US


class Record(NamedTuple):
    """A message of the Kafka log: its offset, when the broker appended it, and its bytes."""

    offset: int
    append_ms: int
    value: bytes | None


def record_of(offset: int, stamp_ms: int, value: bytes | None) -> Record:
    """Return a message of the Kafka log, its timestamp clamped to the range that our tables support.

    The broker's clock never leaves it, but a topic with its senders' timestamps (CreateTime) may contain any.
    """
    return Record(offset, min(max(stamp_ms, MIN_TIME_US // 1000), MAX_TIME_US // 1000), value)


class StoredChunks(NamedTuple):
    """Chunks that are stored already: the offsets at which they begin, and up to which offset they reach.

    What is stored of a chunk can be replaced only by the same chunk, so there, they decide and not the rule.
    """

    starts: Collection[int] = ()
    through: int = -1


@dataclass(frozen=True, slots=True)
class ChunkRule:
    """A new chunk begins when append time passes a multiple of `length_ms`, or offsets of `max_offsets`.

    The second limit bounds the messages of a chunk at any rate, and so the reader's memory and what is read again after
    a restart. Where chunks are stored,
    perhaps by the rule of an earlier version, a reader divides the log as they do: see `StoredChunks`.
    """

    length_ms: int = 60_000
    max_offsets: int = 25_000

    def begins(self, first: Record | None, record: Record) -> bool:
        """Whether `record` starts a new chunk after the chunk whose first message is `first`.

        Append times can step back when a partition's leader changes; such a message stays in the current chunk.
        """
        return (
            first is None
            or record.append_ms // self.length_ms > first.append_ms // self.length_ms
            or record.offset // self.max_offsets > first.offset // self.max_offsets
        )
