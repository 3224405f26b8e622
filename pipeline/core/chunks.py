"""How a partition's Kafka log is divided into chunks: a rule on offsets and append times, and nothing else.

A chunk is identified by the offset of its first message. The same log gives the same chunks to every reader that starts
at a chunk's first message; offsets are committed only there. A chunk is several windows long, so that few windows lie
in two chunks, and the state of a boot is stored once for many of its messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class StoredChunks:
    """Up to which offset chunks are stored, by the offset and the append time in seconds of their first message.

    What is stored of a chunk can be replaced only by the same chunk. So as far as chunks are stored, they decide where
    one begins, and elsewhere the rule. Those of a topic that was deleted and made anew have other times.
    """

    through: Mapping[tuple[int, int], int] = field(default_factory=dict)

    def begins(self, record: Record) -> bool:
        """Whether a stored chunk begins with this message."""
        return (record.offset, record.append_ms // 1000) in self.through

    def continues(self, first: Record, record: Record) -> bool:
        """Whether the chunk that begins with `first` is stored up to `record` or further."""
        return record.offset <= self.through.get((first.offset, first.append_ms // 1000), -1)


@dataclass(frozen=True, slots=True)
class ChunkRule:
    """A new chunk begins when append time passes a multiple of `length_ms`, or offsets of `max_offsets`.

    The second limit bounds the messages of a chunk at any rate, and so the reader's memory and what is read again after
    a restart. Where chunks are stored, perhaps by the rule of an earlier version, a reader divides the log as they do:
    see `StoredChunks`.
    """

    length_ms: int = 60_000
    max_offsets: int = 25_000

    def is_later(self, first: Record, record: Record) -> bool:
        """Whether append time passed a multiple of `length_ms` between `first` and `record`."""
        return record.append_ms // self.length_ms > first.append_ms // self.length_ms

    def begins(self, first: Record | None, record: Record) -> bool:
        """Whether `record` starts a new chunk after the chunk whose first message is `first`.

        Append times can step back when a partition's leader changes; such a message stays in the current chunk.
        """
        return (
            first is None
            or self.is_later(first, record)
            or record.offset // self.max_offsets > first.offset // self.max_offsets
        )
