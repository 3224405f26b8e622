"""The spool's frame format: encodes records, and decodes possibly damaged bytes back to records. Pure.

A frame is MAGIC, CRC-32, index in its segment, lengths, partition, then topic, key and message; the checksum covers
everything after it. MAGIC's first bytes never occur in UTF-8 text, so never in a key or a JSON message, and hardly in a
packed one, where the checksum tells: the reader finds the next intact frame after any damage, and the indexes show how
many are missing in between.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

MAGIC = b"\xff\xfeE2"
_HEAD = Struct("<4sIIIBHi")  # magic, checksum, index, lengths of message, topic suffix and key, partition
_NO_PARTITION = -1
_UNCHECKED = 8


@dataclass(frozen=True, slots=True)
class SpoolRecord:
    """A message as sent to Kafka: `topic` is a suffix from schemas.topics, `index` is its position in the segment.

    `partition` is the one that its boot's earlier messages went to; None if Kafka had none of them.
    """

    index: int
    topic: str
    key: bytes
    message: bytes
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The records of a segment, in order.

    `damaged` counts those known to be missing; damage at the very end hides how many there were, and counts as one.
    """

    records: list[SpoolRecord]
    damaged: int


def frame_bytes(topic: str, key: bytes, message: bytes) -> int:
    """Return the length of the frame."""
    return _HEAD.size + len(topic) + len(key) + len(message)


def frame(record: SpoolRecord) -> bytes:
    """Return the record's frame."""
    topic = record.topic.encode("ascii")
    partition = _NO_PARTITION if record.partition is None else record.partition
    head = _HEAD.pack(MAGIC, 0, record.index, len(record.message), len(topic), len(record.key), partition)
    rest = b"".join((head[_UNCHECKED:], topic, record.key, record.message))
    return MAGIC + zlib.crc32(rest).to_bytes(4, "little") + rest


def read_frames(data: bytes) -> Found:
    """Return every intact record in a segment's bytes, whatever the state of the others; raises nothing."""
    records: list[SpoolRecord] = []
    damaged = expected = end = 0
    for start, record in _whole_frames(data):
        end = start + frame_bytes(record.topic, record.key, record.message)
        if record.index >= expected:
            damaged += record.index - expected
            expected = record.index + 1
            records.append(record)
    return Found(records, damaged + (end < len(data)))


def _whole_frames(data: bytes) -> Iterator[tuple[int, SpoolRecord]]:
    at = data.find(MAGIC)
    while at >= 0:
        record = _parse(data, at)
        if record is None:
            at = data.find(MAGIC, at + 1)
        else:
            yield at, record
            at = data.find(MAGIC, at + frame_bytes(record.topic, record.key, record.message))


def _parse(data: bytes, at: int) -> SpoolRecord | None:
    if len(data) - at < _HEAD.size:
        return None
    _, checksum, index, message_bytes, topic_bytes, key_bytes, partition = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + topic_bytes + key_bytes + message_bytes
    if end > len(data) or zlib.crc32(memoryview(data)[at + _UNCHECKED : end]) != checksum:
        return None
    key_at = at + _HEAD.size + topic_bytes
    message_at = key_at + key_bytes
    topic = data[at + _HEAD.size : key_at].decode("latin-1")
    return SpoolRecord(
        index,
        topic,
        data[key_at:message_at],
        data[message_at:end],
        None if partition == _NO_PARTITION else partition,
    )
