"""Frames under any damage: nothing is raised, no record is made up, and only the damaged ones are missing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.agents.spool.frame import MAGIC, SpoolRecord, frame, frame_bytes, read_frames

TEXT = st.text(max_size=40).map(str.encode)
RECORDS = st.lists(st.tuples(st.sampled_from(["requests", "hardware"]), TEXT, TEXT), max_size=8).map(
    lambda rows: [SpoolRecord(index, *row) for index, row in enumerate(rows)]
)


def frames_of(records: list[SpoolRecord]) -> bytes:
    return b"".join(map(frame, records))


def ends_of(records: list[SpoolRecord]) -> list[int]:
    ends, end = [], 0
    for record in records:
        end += len(frame(record))
        ends.append(end)
    return ends


@given(RECORDS)
def test_what_was_written_is_read(records):
    data = frames_of(records)
    found = read_frames(data)
    assert (found.records, found.damaged) == (records, 0)
    assert len(data) == sum(frame_bytes(r.topic, r.key, r.message) for r in records)


@given(RECORDS, st.data())
def test_a_truncated_tail_costs_the_records_that_it_cuts(records, data):
    whole = frames_of(records)
    length = data.draw(st.integers(0, len(whole)))
    ends = ends_of(records)
    found = read_frames(whole[:length])
    assert found.records == [record for record, end in zip(records, ends, strict=True) if end <= length]
    assert found.damaged == (length not in {0, *ends})


@given(RECORDS.filter(bool), st.data())
def test_a_flipped_bit_costs_one_record_and_is_counted(records, data):
    whole = bytearray(frames_of(records))
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    hit = sum(end <= bit // 8 for end in ends_of(records))
    found = read_frames(bytes(whole))
    assert found.records == records[:hit] + records[hit + 1 :]
    assert found.damaged == 1


@given(RECORDS, st.data())
def test_any_overwriting_and_cutting_makes_up_nothing(records, data):
    whole = bytearray(frames_of(records))
    first = length = len(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(whole)))
        noise = data.draw(st.binary(min_size=1, max_size=30))
        whole[start : start + len(noise)] = noise
        first = min(first, start)
    length = data.draw(st.integers(0, len(whole)))
    found = read_frames(bytes(whole[:length]))
    assert all(record in records for record in found.records)
    assert [r.index for r in found.records] == sorted({r.index for r in found.records})
    untouched = [r for r, end in zip(records, ends_of(records), strict=True) if end <= min(first, length)]
    assert found.records[: len(untouched)] == untouched


@given(st.binary(max_size=300))
def test_noise_holds_no_record(noise):
    found = read_frames(noise + MAGIC + noise)
    assert (found.records, found.damaged) == ([], 1)


def test_records_missing_between_two_are_counted():
    records = [SpoolRecord(index, "requests", b"key", b"{}") for index in range(5)]
    data = frame(records[0]) + frame(records[4])
    assert read_frames(data).damaged == 3
