"""Makes Kafka's record batches readable before the client sees them: an unreadable batch becomes an empty one.

A single batch that cannot be decoded stops a Kafka consumer for good: the client raises below the message level, where
it cannot be skipped. So each fetched set of batches passes through here first. A batch with a wrong checksum, format,
codec or content, or one that would become too large, is replaced by an empty one with the same offsets, and reported.
Compressed batches are unpacked, up to a limit. Pure: bytes in, bytes out. The format is described at
https://kafka.apache.org/documentation/#recordbatch.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap
from typing import NamedTuple

import cramjam
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

MAX_UNPACKED_BYTES = 32 * 1024 * 1024
"""Maximum unpacked size of a compressed batch. Topics accept batches of up to 8 MiB as sent, compressed or not."""

KEPT_BYTES = 64 * 1024
"""How much of an unreadable batch is kept for inspection."""

_HEADER = struct.Struct(">qiibIhiqqqhii")
_BEFORE_LENGTH = 12  # base offset and length, which the length does not include
_CRC_AT, _ATTRIBUTES_AT = 17, 21
_MAGIC_AT = 16
_MAGIC = 2
_CODECS = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
_CODEC_MASK = 0x07
_LOG_APPEND_TIME = 0x08
_CONTROL = 0x20
_XERIAL = bytes((0x82,)) + b"SNAPPY\0"
_XERIAL_HEADER_BYTES = 16


class UnreadableError(Exception):
    """A batch cannot be read; the message says why."""


class UnreadableBatch(NamedTuple):
    """The unreadable offsets `first` to `last` of a partition; `append_ms` is set if the header is intact.

    `value` is the beginning of its `size_bytes`.
    """

    first: int
    last: int
    append_ms: int | None
    detail: str
    value: bytes
    size_bytes: int


class Hole(NamedTuple):
    """The offsets `first` to `last`, which contain no message."""

    first: int
    last: int


@dataclass(slots=True)
class CheckedBatches:
    """What is passed on to the client, and what is not. `suspect` is the base offset where it ends early, at a batch
    that cannot be read and should be fetched again before it is considered unreadable."""

    batches: bytes
    unreadable: list[UnreadableBatch] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    """Transaction markers, and offsets left out by compaction or the broker."""
    suspect: int | None = None


class _Header(NamedTuple):
    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_ms: int
    max_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records: int


class BatchChecker:
    """Checks batches. Owns the buffer that they are unpacked into, so each thread needs its own."""

    def __init__(self, max_unpacked_bytes: int = MAX_UNPACKED_BYTES) -> None:
        self._max_bytes = max_unpacked_bytes
        self._buffer: mmap | None = None

    def check(
        self, fetched: bytes, fetch_offset: int, end_offset: int, confirmed: int | None
    ) -> CheckedBatches:
        """Return the readable part of a partition's batches, fetched from `fetch_offset` on.

        `end_offset` is the end of the log. `confirmed` is the base offset of a batch that was unreadable each time it
        was fetched, and so is replaced.
        """
        out: list[bytes] = []
        checked = CheckedBatches(fetched)
        next_offset, size_bytes = fetch_offset, 0
        changed = False
        spans = list(_spans(fetched))
        for index, (start, end) in enumerate(spans):
            batch = fetched[start:end]
            try:
                readable, header = self._readable(batch)
            except UnreadableError as error:
                changed = True
                base = int.from_bytes(batch[:8], "big", signed=True)
                if base != confirmed:
                    checked.suspect = base
                    break
                following = fetched[spans[index + 1][0] :][:8] if index + 1 < len(spans) else b""
                last = _last_offset(batch, next_offset, end_offset, following)
                checked.unreadable.append(_unreadable(batch, next_offset, last, str(error)))
                out.append(empty_batch(next_offset, last))
                next_offset = last + 1
            else:
                changed = changed or readable is not batch
                out.append(readable)
                if header is not None:
                    checked.holes += _holes(readable, header, next_offset)
                    next_offset = max(next_offset, header.base_offset + header.last_offset_delta + 1)
            size_bytes += len(out[-1])
            if size_bytes > self._max_bytes:
                changed = True  # the rest is fetched again: together they could become too large
                break
        if changed:
            checked.batches = b"".join(out)
        elif fetched and not spans:
            # The broker always sends the first batch completely, so its length must be wrong.
            if confirmed == fetch_offset:
                detail = f"its length does not match: {len(fetched)} bytes were received"
                checked.unreadable.append(_unreadable(fetched, fetch_offset, fetch_offset, detail))
                checked.batches = empty_batch(fetch_offset, fetch_offset)
            else:
                checked.suspect, checked.batches = fetch_offset, b""
        return checked

    def _readable(self, batch: bytes) -> tuple[bytes, _Header | None]:
        """Return the unpacked batch, and its header if brokers since 2017 wrote it; raises UnreadableError."""
        if len(batch) <= _MAGIC_AT:
            raise UnreadableError(f"it has {len(batch)} bytes and no header")
        if batch[_MAGIC_AT] in (0, 1):
            _read_all(batch, check=True)  # without transactions, and so without holes
            return batch, None
        if batch[_MAGIC_AT] != _MAGIC:
            raise UnreadableError(f"its format version is {batch[_MAGIC_AT]}; supported is {_MAGIC}")
        if len(batch) < _HEADER.size:
            raise UnreadableError(f"it has {len(batch)} bytes; a header has {_HEADER.size}")
        header = _Header._make(_HEADER.unpack_from(batch))
        if calc_crc32c(batch[_ATTRIBUTES_AT:]) != header.crc:
            raise UnreadableError("its checksum (CRC-32C) does not match")
        codec = header.attributes & _CODEC_MASK
        if codec:
            batch = self._unpacked(batch, header, codec)
        _read_all(batch, check=False)
        return batch, header

    def _unpacked(self, batch: bytes, header: _Header, codec: int) -> bytes:
        if codec not in _CODECS:
            raise UnreadableError(
                f"its compression codec is {codec}; supported are {', '.join(_CODECS.values())}"
            )
        packed = batch[_HEADER.size :]
        try:
            payload = self._unpack(packed, codec)
        except (cramjam.DecompressionError, zlib.error, EOFError, ValueError, struct.error) as error:
            raise UnreadableError(f"its {_CODECS[codec]} content cannot be decompressed: {error}") from error
        attributes = header.attributes & ~_CODEC_MASK
        return _batch(header._replace(attributes=attributes), payload)

    def _unpack(self, packed: bytes, codec: int) -> bytes:
        if codec == 1:
            return _unpack_gzip(packed, self._max_bytes)
        if codec == 2:
            return _unpack_snappy(packed, self._max_bytes)
        if self._buffer is None:
            self._buffer = mmap(-1, self._max_bytes)  # pages are allocated when they are written
        module = cramjam.lz4 if codec == 3 else cramjam.zstd
        try:
            size = module.decompress_into(packed, self._buffer)
        except cramjam.DecompressionError as error:
            if "whole buffer" in str(error):
                raise ValueError(_too_large(self._max_bytes)) from None
            raise
        return self._buffer[:size]


def _too_large(max_bytes: int) -> str:
    return f"it decompresses to more than {max_bytes} bytes"


def _unpack_gzip(packed: bytes, max_bytes: int) -> bytes:
    unpacked, left = [], packed
    size = 0
    while left:
        stream = zlib.decompressobj(wbits=31)
        unpacked.append(stream.decompress(left, max_bytes - size + 1))
        size += len(unpacked[-1])
        if size > max_bytes:
            raise ValueError(_too_large(max_bytes))
        if not stream.eof:
            raise EOFError("it ends in the middle of the stream")
        left = stream.unused_data
    return b"".join(unpacked)


def _unpack_snappy(packed: bytes, max_bytes: int) -> bytes:
    """Unpack raw snappy, or the blocks of the Java library (xerial), each preceded by its length."""
    if not packed.startswith(_XERIAL):
        return _unpack_snappy_block(packed, max_bytes)
    unpacked, at, size = [], _XERIAL_HEADER_BYTES, 0
    while at < len(packed):
        (length,) = struct.unpack_from(">i", packed, at)
        if length <= 0 or at + 4 + length > len(packed):
            raise EOFError(f"a block has {length} bytes, but only {len(packed) - at - 4} are left")
        unpacked.append(_unpack_snappy_block(packed[at + 4 : at + 4 + length], max_bytes, size))
        size += len(unpacked[-1])
        at += 4 + length
    return b"".join(unpacked)


def _unpack_snappy_block(block: bytes, max_bytes: int, size: int = 0) -> bytes:
    if size + cramjam.snappy.decompress_raw_len(block) > max_bytes:
        raise ValueError(_too_large(max_bytes))
    return bytes(cramjam.snappy.decompress_raw(block))


def _read_all(batch: bytes, *, check: bool) -> None:
    """Raise UnreadableError unless each record of an unpacked batch can be read."""
    try:
        if check:
            read = MemoryRecords(batch).next_batch()
            if read is None or not read.validate_crc():
                raise UnreadableError("its checksum (CRC-32) does not match")
        else:
            read = DefaultRecordBatch(batch)
        for _ in read:
            pass
    except (UnreadableError, MemoryError):
        raise
    except Exception as error:  # whatever a decoder raises: no other error may leave this function
        raise UnreadableError(f"its records cannot be read: {error}") from error


def _spans(fetched: bytes) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each complete batch; the last one may be truncated."""
    start = 0
    while start + _BEFORE_LENGTH <= len(fetched):
        length = int.from_bytes(fetched[start + 8 : start + _BEFORE_LENGTH], "big", signed=True)
        end = start + _BEFORE_LENGTH + length
        if length < 0 or end > len(fetched):
            return
        yield start, end
        start = end


def _holes(batch: bytes, header: _Header, next_offset: int) -> Iterator[Hole]:
    """Yield the offsets from `next_offset` to the end of a readable batch that contain no message for a consumer."""
    after = header.base_offset + header.last_offset_delta + 1
    is_whole = header.records == header.last_offset_delta + 1
    if is_whole and header.base_offset == next_offset and not header.attributes & _CONTROL:
        return  # as nearly all
    if header.attributes & _CONTROL:
        offsets = [after]
    elif is_whole:
        offsets = [header.base_offset]
    else:  # compacted
        offsets = [*(record.offset for record in DefaultRecordBatch(batch)), after]
    for offset in offsets:
        if offset > next_offset:
            yield Hole(next_offset, offset - 1)
        next_offset = max(next_offset, offset + 1)


def _last_offset(batch: bytes, first: int, end_offset: int, following: bytes) -> int:
    """Return the last offset of an unreadable batch, never too large: the batches after it may be intact.

    It is taken from the header if two of its numbers agree and it lies within the log; else from the next batch; else
    only `first` is known to be unreadable.
    """
    bound = end_offset - 1
    if following:
        bound = min(bound, int.from_bytes(following, "big", signed=True) - 1)
    if len(batch) >= _HEADER.size and batch[_MAGIC_AT] == _MAGIC:
        header = _Header(*_HEADER.unpack_from(batch))
        last = header.base_offset + header.last_offset_delta
        if header.records == header.last_offset_delta + 1 and first <= last <= bound:
            return last
    return bound if following and bound >= first else first


def _unreadable(batch: bytes, first: int, last: int, detail: str) -> UnreadableBatch:
    append_ms = None
    if len(batch) >= _HEADER.size and batch[_MAGIC_AT] == _MAGIC:
        header = _Header(*_HEADER.unpack_from(batch))
        if calc_crc32c(batch[_ATTRIBUTES_AT:]) == header.crc and header.attributes & _LOG_APPEND_TIME:
            append_ms = header.max_ms
    offsets = f"offset {first}" if first == last else f"offsets {first} to {last}"
    detail = f"record batch, {offsets}: {detail}"
    return UnreadableBatch(first, last, append_ms, detail, batch[:KEPT_BYTES], len(batch))


def empty_batch(first: int, last: int) -> bytes:
    """Return a batch without records that covers the offsets, as compaction leaves them."""
    return _batch(_Header(first, 0, -1, _MAGIC, 0, 0, last - first, -1, -1, -1, -1, -1, 0), b"")


def _batch(header: _Header, payload: bytes) -> bytes:
    """Return the batch with its length and checksum corrected."""
    length = _HEADER.size - _BEFORE_LENGTH + len(payload)
    packed = _HEADER.pack(*header._replace(length=length)) + payload
    crc = calc_crc32c(packed[_ATTRIBUTES_AT:])
    return packed[:_CRC_AT] + struct.pack(">I", crc) + packed[_ATTRIBUTES_AT:]
