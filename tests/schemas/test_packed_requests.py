"""The packed form of request batches: it says what the JSON form says, and what is not as described is refused."""

from contextlib import suppress
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schemas.messages import REQUESTS, request_batches, wire

from endpoint_analytics.schemas.codec import decode_request_form, decode_requests, encode, encode_requests
from endpoint_analytics.schemas.errors import InvalidMessageError
from endpoint_analytics.schemas.packed_requests import PackedBatch, decode_packed, encode_packed, pack, unpack
from endpoint_analytics.schemas.packed_rows import MAX_WIDTH, pack_rows, unpack_rows
from endpoint_analytics.schemas.requests import (
    Aborted,
    Arrived,
    Finished,
    Informational,
    RequestBatch,
    Responded,
    Totals,
)

PHASES = ("arrived", "informational", "responded", "finished", "aborted_pending", "aborted_streaming")
BATCH = decode_requests(wire(REQUESTS))


def batch_of(**members) -> RequestBatch:
    return msgspec.structs.replace(BATCH, **members)


def in_any_order(batch: RequestBatch) -> dict[str, object]:
    """Return the batch's members, each phase as its sorted rows."""
    members = msgspec.structs.asdict(batch)
    for phase in PHASES:
        columns = msgspec.structs.astuple(members[phase])
        members[phase] = sorted(zip(*columns, strict=True))
    return members


@given(request_batches())
def test_it_holds_what_the_batch_holds(batch):
    assert in_any_order(decode_requests(encode_requests(batch, "packed"))) == in_any_order(batch)


@given(st.lists(st.tuples(*[st.integers(0, 10**9)] * 3, st.sampled_from([200, 404, 500])), max_size=60))
def test_requests_that_went_through_all_phases_are_one_row_each(requests):
    """As an agent sees them: each time and each difference is rounded down by itself, to a microsecond."""
    length_ns = 4 * 10**9
    seen = [(at, at + wait, at + wait + rest, status) for at, wait, rest, status in requests]
    batch = batch_of(
        end_us=BATCH.start_us + length_ns // 1000,
        arrived=Arrived([at // 1000 for at, *_ in seen]),
        responded=Responded(
            *([f(*each) for each in seen] for f in (
                lambda at, answered, end, status: answered // 1000,
                lambda at, answered, end, status: (answered - at) // 1000,
                lambda at, answered, end, status: status,
            ))
        ),
        finished=Finished(
            *([f(*each) for each in seen] for f in (
                lambda at, answered, end, status: end // 1000,
                lambda at, answered, end, status: (end - at) // 1000,
                lambda at, answered, end, status: status,
            ))
        ),
    )  # fmt: skip
    rows = pack_rows(batch)
    assert in_any_order(unpack(pack(batch))) == in_any_order(batch)
    if seen and _apart(seen):
        assert {kind >> 4 for kind in rows[1 : 1 + 6 * rows[0] : 6]} <= {1, 2}, "all in `whole`"


def _apart(seen) -> bool:
    """Whether no two arrivals are within two microseconds: such requests may be mistaken for each other."""
    at = sorted(at for at, *_ in seen)
    return all(second - first > 3_000 for first, second in pairwise(at))


def test_rows_are_sorted_by_time_and_equal_times_stay_in_order():
    batch = batch_of(arrived=Arrived([7, 7, 9]), responded=Responded([8, 8], [3, 4], [200, 404]))
    assert unpack(pack(batch)) == batch


def test_the_bytes_are_those_of_the_description():
    batch = batch_of(
        boot_id="0123456789abcdef0123456789abcdef",
        arrived=Arrived([5, 600]),
        responded=Responded([16], [10], [200]),
        finished=Finished([25], [20], [200]),
        informational=Informational([1, 2, 3], [103, 103, 100]),
        totals=Totals(arrived=2, finished=300, status={"200": 1}, dropped={"full": 3}),
    )
    rows = bytes.fromhex(
        "04"
        "11 010000 c800"  # whole, one byte wide, one row, 200
        "32 010000 0000"  # arrived, two bytes wide
        "a1 030000 6700"  # informational, three rows, 103
        "b1 010000 0000"  # other statuses of informational
        "05 15 14"  # at 5, waited 10 (and a rounded microsecond), 10 more to the end (and none)
        "58 02"  # 600
        "010203"
        "02 64"  # the third: 100
    )  # fmt: skip
    assert pack_rows(batch) == rows
    assert encode_requests(batch, "packed") == msgspec.msgpack.encode(
        [
            2, "acme", "llm", "llm-7d9f-x2x", bytes.fromhex("0123456789abcdef" * 2), 0, BATCH.start_us, 1_000_000, 0, 0,
            0, rows, bytes.fromhex("02 ac02 00 00 00 00 c801 01"), {"full": 3}, {},
        ]
    )  # fmt: skip


def test_an_idle_replicas_message_is_small():
    elements = msgspec.msgpack.decode(encode_requests(batch_of(boot_id="0" * 32), "packed"))
    assert len(elements) == 13
    assert len(encode_requests(batch_of(boot_id="0" * 32), "packed")) < 80


@pytest.mark.parametrize(
    "boot_id", ["b", "x" * 14, "x" * 15, "x" * 16, "A" * 32, "0" * 32, "0" * 33, "x" * 128]
)
def test_any_boot_id(boot_id):
    assert decode_requests(encode_requests(batch_of(boot_id=boot_id), "packed")).boot_id == boot_id


def test_rows_are_left_packed_for_who_reads_many():
    batch = batch_of(arrived=Arrived([5]))
    assert decode_request_form(encode_requests(batch, "packed")) == pack(batch)
    assert decode_request_form(encode(batch)) == batch


@pytest.mark.parametrize(
    ("rows", "detail"),
    [
        ("00", "0 tables"),
        ("0c" + "00" * 99, "12 tables"),
        ("01 3101000000", "1 tables in 6 bytes"),
        ("01 310100000000", "end within a table"),
        ("01 310100000000 05 ff", "1 bytes after"),
        ("01 300100000000 05", "0 bytes"),
        ("01 370100000000 05050505050505", "7 bytes"),
        ("01 310000000000", "a table of 0 rows"),
        ("01 010100000000 05", "kind 0"),
        ("01 c10100000000 05", "kind 12"),
        ("02 310100000000 310100000000 0505", "kind 3 after one of kind 3"),
        ("02 410100000000 310100000000 05050505", "kind 3 after one of kind 4"),
        ("02 310100000000 510100000000 050505", "kind 5 after one of kind 3"),
        ("01 31a186010000" + "05" * 100_001, "100001 events"),
        ("01 11368200c800" + "05" * 100_002, "100002 events"),
        ("02 a1010000c800 b10100000000 05 01c8", "another status of row 1; there are 1 rows"),
        ("02 a1010000c800 b10200000000 05 0000c8c8", "other statuses of 2 rows; there are 1"),
        ("02 a1020000c800 b10200000000 0505 0000c8c8", "do not ascend"),
        ("02 a1020000c800 b10200000000 0505 0100c8c8", "do not ascend"),
        ("01 a10100006300 05", "status is 99"),
        ("02 a1010000c800 b20100000000 05 00 58 0002", "status is 600"),
        ("01 860100000000 0500 0000 0000 0000 0000 00ff", "a duration is"),
    ],
)  # fmt: skip
def test_rows_that_are_not_as_described_are_refused(rows, detail):
    with pytest.raises(InvalidMessageError, match=detail) as refused:
        unpack_rows(bytes.fromhex(rows))
    assert refused.value.reason in {"wrong_shape", "too_many_events"}


@pytest.mark.parametrize(
    ("element", "value", "reason", "detail"),
    [
        (0, 3, "unknown_version", "version is 3; expected 2"),
        (0, [[]], "unknown_version", "version is 'list'; expected 2"),
        (0, "x", "unknown_version", "version is 'x'; expected 2"),
        (1, "a/b", "bad_identity", "namespace is 'a/b'"),
        (4, b"x", "wrong_shape", "boot_id has 1 bytes"),
        (4, b"\0", "bad_identity", "boot_id is ''"),
        (4, b"\0\xff", "bad_identity", "boot_id is not ASCII"),
        (5, -1, "wrong_shape", "int"),
        (6, 5, "wrong_shape", "int"),
        (7, 10**9, "wrong_shape", "int"),
        (11, "text", "wrong_shape", "bytes"),
        (12, b"\1" * 5, "wrong_shape", "totals are 5 numbers"),
        (12, b"\1" * 7, "wrong_shape", "totals are 7 numbers"),
        (12, b"\1" * 8, "wrong_shape", "a status of the totals is 1"),
        (12, b"\xff" * 8, "wrong_shape", "totals end within a number"),
        (12, b"\xff" * 99, "wrong_shape", "more than 63 bits"),
        (12, b"\x80" * 9000, "wrong_shape", "9000 bytes"),
        (12, b"\xff" * 8 + b"\1" + b"\1" * 5, "wrong_shape", "out of range"),
        (13, {"A": 1}, "wrong_shape", "str"),
        (14, [], "wrong_shape", "object"),
    ],
)
def test_elements_that_are_not_as_described_are_refused(element, value, reason, detail):
    elements = [*msgspec.msgpack.decode(encode_requests(BATCH, "packed")), {}, {}]
    elements[element] = value
    with pytest.raises(InvalidMessageError, match=detail) as refused:
        decode_requests(msgspec.msgpack.encode(elements))
    assert refused.value.reason == reason


@pytest.mark.parametrize("data", [b"\x90", b"\x91", b"\x9e\x02", b"\xdc\x00\x00", b"\xdd", b"\x91\x02\xff"])
def test_what_begins_like_an_array_and_is_none_is_refused(data):
    with pytest.raises(InvalidMessageError):
        decode_requests(data)


def test_elements_that_a_later_version_adds_are_passed_over():
    elements = [*msgspec.msgpack.decode(encode_requests(BATCH, "packed")), {}, {}, "more"]
    assert decode_requests(msgspec.msgpack.encode(elements)) == BATCH


@given(st.binary(max_size=60))
def test_any_rows_are_read_or_refused(rows):
    with suppress(InvalidMessageError):
        unpack_rows(rows)


@given(request_batches(), st.data())
def test_a_changed_byte_never_raises_anything_else(batch, data):
    message = bytearray(encode_requests(batch, "packed"))
    message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InvalidMessageError):
        decode_requests(bytes(message))


def test_the_version_is_read_without_the_rest():
    elements = msgspec.msgpack.decode(encode_requests(BATCH, "packed"))
    elements[0] = 3
    with pytest.raises(InvalidMessageError, match="version is 3"):
        decode_requests(msgspec.msgpack.encode([*elements, {"more": [[], []]}]))


def test_what_cannot_be_represented_is_refused():
    with pytest.raises(InvalidMessageError, match="wrong_shape"):
        encode_requests(batch_of(aborted_pending=Aborted([1], [2**48])), "packed")
    with pytest.raises(InvalidMessageError, match="wrong_shape"):
        encode_requests(batch_of(totals=Totals(status={"OK": 1})), "packed")
    with pytest.raises(InvalidMessageError, match="wrong_shape"):
        encode_requests(batch_of(replica_id="\ud800"), "packed")
    with pytest.raises(InvalidMessageError, match="wrong_shape"):
        encode_requests(batch_of(arrived=Arrived([-1])), "packed")


def test_the_widest_column_holds_the_longest_durations():
    most = 7 * 86_400_000_000
    assert 2 * most + 1 < 256**MAX_WIDTH
    batch = batch_of(aborted_pending=Aborted([1], [most]), responded=Responded([1], [most], [599]))
    assert unpack(decode_packed(encode_packed(pack(batch)))) == batch
    assert isinstance(pack(batch), PackedBatch)
