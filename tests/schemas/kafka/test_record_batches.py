"""Batches of each codec as packed by aiokafka, and as damaged by a disk, a faulty packer and a malicious one."""

from __future__ import annotations

import struct

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.schemas.kafka.record_batches import BatchChecker

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
VALUE = b'{"version": 1, "seq": 7}' * 20


def packed(first: int, count: int, codec: int = 0, value: bytes = VALUE) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1,
        base_sequence=-1, batch_size=2**30,
    )  # fmt: skip
    for number in range(count):
        builder.append(number, timestamp=1_790_000_000_000, key=b"key", value=value, headers=[])
    return struct.pack(">q", first) + bytes(builder.build())[8:]


def signed(batch: bytes) -> bytes:
    """Return the batch with a matching checksum."""
    return batch[:17] + struct.pack(">I", calc_crc32c(batch[21:])) + batch[21:]


def offsets(batches: bytes) -> list[int]:
    """Return the offsets that a client reads from these batches."""
    found, records = [], MemoryRecords(batches)
    while records.has_next():
        found += [record.offset for record in records.next_batch()]
    return found


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_what_is_whole_comes_out_as_it_went_in(codec: int) -> None:
    batch = packed(100, 5, codec)
    checked = BatchChecker().check(batch + packed(105, 3), 100, 108, None)
    assert offsets(checked.batches) == list(range(100, 108))
    first = MemoryRecords(checked.batches).next_batch()
    assert [(record.key, record.value, record.timestamp) for record in first] == [
        (b"key", VALUE, 1_790_000_000_000)
    ] * 5
    assert (checked.unreadable, checked.suspect) == ([], None)


def garbage(batch: bytes) -> bytes:
    return signed(batch[:61] + bytes((n * 37) % 251 for n in range(len(batch) - 61)))


def other_codec(batch: bytes) -> bytes:
    return signed(batch[:22] + bytes((6,)) + batch[23:])


def cut(batch: bytes) -> bytes:
    left = batch[:-7]
    return signed(left[:8] + struct.pack(">i", len(left) - 12) + left[12:])


def flipped(batch: bytes) -> bytes:
    return batch[:-3] + bytes((batch[-3] ^ 0x10,)) + batch[-2:]


def other_format(batch: bytes) -> bytes:
    return batch[:16] + bytes((9,)) + batch[17:]


@pytest.mark.parametrize("spoil", [garbage, other_codec, cut, flipped, other_format])
@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_what_cannot_be_read_is_doubted_and_then_passed_over(codec: int, spoil) -> None:
    before, bad, behind = packed(100, 5), spoil(packed(105, 4, codec)), packed(109, 2)
    suspect = BatchChecker().check(before + bad + behind, 100, 111, None)
    assert (offsets(suspect.batches), suspect.suspect) == ([100, 101, 102, 103, 104], 105)
    assert suspect.unreadable == []
    passed = BatchChecker().check(before + bad + behind, 100, 111, 105)
    assert offsets(passed.batches) == [100, 101, 102, 103, 104, 109, 110]
    [(first, last, _, detail, value, size)] = passed.unreadable
    assert (first, last, value, size) == (105, 108, bad, len(bad))
    assert detail.startswith("record batch, offsets 105 to 108: its ")
    alone = BatchChecker().check(bad, 105, 111, 105)
    assert alone.batches
    assert alone.unreadable[0].last in (105, 108)


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_what_would_become_too_large_is_not_unpacked(codec: int) -> None:
    bomb = packed(0, 1, codec, value=b"\0" * 5_000_000)
    assert len(bomb) < 400_000
    checked = BatchChecker(max_unpacked_bytes=4_000_000).check(bomb, 0, 1, 0)
    assert "more than 4000000 bytes" in checked.unreadable[0].detail
    assert BatchChecker(max_unpacked_bytes=6_000_000).check(bomb, 0, 1, 0).unreadable == []


def test_many_that_become_large_together_come_a_few_at_a_time() -> None:
    batch = [packed(number, 1, 4, value=b"\0" * 1_000_000) for number in range(20)]
    checked = BatchChecker(max_unpacked_bytes=4_000_000).check(b"".join(batch), 0, 20, None)
    assert offsets(checked.batches) == [0, 1, 2, 3]


def test_what_a_log_leaves_out_is_told() -> None:
    """After compaction of whole batches, and of records within one."""
    compacted = packed(110, 10)
    builder = DefaultRecordBatchBuilder(2, 0, True, -1, -1, -1, 10_000)
    for offset in (0, 4, 5, 9):
        builder.append(offset, 1_790_000_000_000, b"key", VALUE, [])
    batch = bytearray(builder.build())
    batch[:8] = struct.pack(">q", 110)
    checked = BatchChecker().check(packed(100, 5) + bytes(batch) + packed(125, 1), 100, 126, None)
    assert len(offsets(checked.batches)) == 10
    assert checked.holes == [(105, 109), (111, 113), (116, 118), (120, 124)]
    assert BatchChecker().check(compacted, 110, 120, None).holes == []


def test_a_header_that_claims_too_many_offsets_hides_nothing_good() -> None:
    bad = packed(10, 3)
    bad = bad[:23] + struct.pack(">i", 5_000) + bad[27:]
    checked = BatchChecker().check(bad + packed(13, 2), 10, 15, 10)
    assert (checked.unreadable[0].first, checked.unreadable[0].last) == (10, 12)
    assert offsets(checked.batches) == [13, 14]
    alone = BatchChecker().check(bad, 10, 15, 10)
    assert (alone.unreadable[0].first, alone.unreadable[0].last) == (10, 10)


def test_part_of_a_batch_at_the_end_is_left_for_the_next_fetch() -> None:
    fetched = packed(0, 3) + packed(3, 3)[:-10]
    checked = BatchChecker().check(fetched, 0, 6, None)
    assert (offsets(checked.batches), checked.suspect) == ([0, 1, 2], None)


def test_a_length_beyond_all_that_came_is_passed_over_by_one_offset() -> None:
    bad = packed(7, 3)
    bad = bad[:8] + struct.pack(">i", 2**30) + bad[12:]
    assert BatchChecker().check(bad, 7, 10, None).suspect == 7
    checked = BatchChecker().check(bad, 7, 10, 7)
    assert (checked.unreadable[0].first, checked.unreadable[0].last) == (7, 7)
    assert MemoryRecords(checked.batches).next_batch().next_offset == 8


@given(st.binary(max_size=400), st.sampled_from(sorted(CODECS.values())))
def test_no_bytes_whatever_raise(noise: bytes, codec: int) -> None:
    batch = bytearray(packed(0, 3, codec))
    batch[61 : 61 + len(noise)] = noise
    for fetched in (noise, bytes(batch), signed(bytes(batch)), bytes(batch[: len(noise)])):
        for confirmed in (None, 0):
            checked = BatchChecker(1_000_000).check(fetched, 0, 3, confirmed)
            offsets(checked.batches)
