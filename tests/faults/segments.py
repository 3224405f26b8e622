"""Edits a broker's log on disk while the broker is down, like a faulty disk or a faulty packer.

The format is that of https://kafka.apache.org/documentation/#recordbatch.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import cramjam
from aiokafka.record.util import calc_crc32c

HEADER_BYTES = 61


def batches(log: bytes) -> list[tuple[int, int]]:
    """Return the start and end of each batch of a segment."""
    found, start = [], 0
    while start + HEADER_BYTES <= len(log):
        (length,) = struct.unpack_from(">i", log, start + 8)
        found.append((start, start + 12 + length))
        start += 12 + length
    return found


def edit(directory: Path, number: int, change: Callable[[bytes], bytes]) -> tuple[int, int]:
    """Change the batch `number` of a partition's only segment, keeping its length; returns its offsets."""
    [path] = directory.glob("*.log")
    log = path.read_bytes()
    start, end = batches(log)[number]
    batch = log[start:end]
    changed = change(batch)
    assert len(changed) == len(batch)
    path.write_bytes(log[:start] + changed + log[end:])
    (base,) = struct.unpack_from(">q", batch)
    (delta,) = struct.unpack_from(">i", batch, 23)
    return base, base + delta


def signed(batch: bytes) -> bytes:
    """Return the batch with a matching checksum, as a faulty packer would write it."""
    return batch[:17] + struct.pack(">I", calc_crc32c(batch[21:])) + batch[21:]


def flipped(batch: bytes) -> bytes:
    """Flip one bit, which the checksum detects."""
    return batch[:-5] + bytes((batch[-5] ^ 1,)) + batch[-4:]


def garbage(batch: bytes) -> bytes:
    """Replace the records by noise, with a matching checksum."""
    return signed(batch[:HEADER_BYTES] + bytes(n * 37 % 251 for n in range(len(batch) - HEADER_BYTES)))


def unknown_codec(batch: bytes) -> bytes:
    return signed(batch[:22] + bytes((batch[22] & 0xF8 | 6,)) + batch[23:])


def unknown_format(batch: bytes) -> bytes:
    return batch[:16] + bytes((5,)) + batch[17:]


def with_codec(codec: int, content: Callable[[int], bytes]) -> Callable[[bytes], bytes]:
    """Return a change to the given content, of exactly as many bytes as before, compressed with `codec`."""

    def change(batch: bytes) -> bytes:
        made = content(len(batch) - HEADER_BYTES)
        return signed(batch[:22] + bytes((batch[22] & 0xF8 | codec,)) + batch[23:HEADER_BYTES] + made)

    return change


def cut_zstd(size: int) -> bytes:
    """The beginning of a truncated frame."""
    whole = bytes(cramjam.zstd.compress(random.Random(size).randbytes(2 * size)))
    return whole[:size]


def zstd_bomb(size: int) -> bytes:
    """A frame with half a gigabyte of zeros, and a skippable frame that fills it up to the required length."""
    bomb = bytes(cramjam.zstd.compress(b"\0" * 2**29))
    rest = size - len(bomb) - 8
    assert rest >= 0, f"a batch of {size} bytes is too small for a bomb of {len(bomb)}"
    return bomb + struct.pack("<II", 0x184D2A50, rest) + b"\0" * rest
