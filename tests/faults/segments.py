"""A broker's log on disk, edited while the broker is down: what a bad disk makes of batches, and a bad packer.

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
    """Return where each batch of a segment starts and ends."""
    found, start = [], 0
    while start + HEADER_BYTES <= len(log):
        (length,) = struct.unpack_from(">i", log, start + 8)
        found.append((start, start + 12 + length))
        start += 12 + length
    return found


def edit(directory: Path, number: int, change: Callable[[bytes], bytes]) -> tuple[int, int]:
    """Change the batch `number` of a partition's only segment, and keep its length; returns its offsets."""
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
    """Return the batch with the checksum that fits, as whoever made it wrong would write it."""
    return batch[:17] + struct.pack(">I", calc_crc32c(batch[21:])) + batch[21:]


def flipped(batch: bytes) -> bytes:
    """One bit, which the checksum tells."""
    return batch[:-5] + bytes((batch[-5] ^ 1,)) + batch[-4:]


def garbage(batch: bytes) -> bytes:
    """Noise where records should be, under a checksum that fits."""
    return signed(batch[:HEADER_BYTES] + bytes(n * 37 % 251 for n in range(len(batch) - HEADER_BYTES)))


def unknown_codec(batch: bytes) -> bytes:
    return signed(batch[:22] + bytes((batch[22] & 0xF8 | 6,)) + batch[23:])


def unknown_format(batch: bytes) -> bytes:
    return batch[:16] + bytes((5,)) + batch[17:]


def with_codec(codec: int, content: Callable[[int], bytes]) -> Callable[[bytes], bytes]:
    """Return a change to content of one's own, of just as many bytes as there are, packed as `codec` says."""

    def change(batch: bytes) -> bytes:
        made = content(len(batch) - HEADER_BYTES)
        return signed(batch[:22] + bytes((batch[22] & 0xF8 | codec,)) + batch[23:HEADER_BYTES] + made)

    return change


def cut_zstd(size: int) -> bytes:
    """The beginning of a frame whose rest is missing."""
    whole = bytes(cramjam.zstd.compress(random.Random(size).randbytes(2 * size)))
    return whole[:size]


def zstd_bomb(size: int) -> bytes:
    """A frame of half a gigabyte of nothing, and one to be passed over, so that it is as long as it has to be."""
    bomb = bytes(cramjam.zstd.compress(b"\0" * 2**29))
    rest = size - len(bomb) - 8
    assert rest >= 0, f"a batch of {size} bytes is too small for a bomb of {len(bomb)}"
    return bomb + struct.pack("<II", 0x184D2A50, rest) + b"\0" * rest
