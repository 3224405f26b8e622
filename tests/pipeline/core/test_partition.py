"""Where the log is divided, which messages are refused, and what a chunk's row counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.core.worker import Worker

from endpoint_analytics.pipeline.core import partition
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.partition import Bounds, PartitionFold
from endpoint_analytics.pipeline.core.stream_folds import ReplicasFold
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.requests import Aborted, Arrived, Finished, RequestBatch, Responded

RULE = ChunkRule(length_ms=10_000, max_offsets=100)
START_US = 1_790_000_000_000_000
START_MS = START_US // 1000


def new_fold(rule=RULE):
    return PartitionFold(ReplicasFold(), "ea.replicas", 0, rule, Bounds())


def request_batch(seq=0, start_us=START_US, length_us=1_000_000, **members) -> RequestBatch:
    return RequestBatch(
        namespace="acme",
        endpoint="llm",
        replica_id="r1",
        boot_id="b1",
        seq=seq,
        start_us=start_us,
        end_us=start_us + length_us,
        **({"pending": 0, "streaming": 0} | members),
    )


def fold(*batches: RequestBatch, append_ms=START_MS) -> Worker:
    worker = Worker("requests")
    worker.read([Record(i, append_ms, encode(batch)) for i, batch in enumerate(batches)])
    worker.close()
    return worker


def rows(worker: Worker, table: str) -> list[dict[str, object]]:
    return list(worker.table.final()[table].values())


@pytest.mark.parametrize(
    ("offset", "append_ms", "begins"),
    [
        (10, 29_999, False),
        (10, 30_000, True),
        (99, 20_000, False),
        (100, 20_000, True),
        (10, 5_000, False),  # the clock stepped back
        (250, 29_000, True),
    ],
)
def test_a_chunk_begins_at_a_multiple_of_time_or_of_offsets(offset, append_ms, begins):
    assert RULE.begins(Record(7, 20_001, None), Record(offset, append_ms, None)) is begins


def test_the_first_message_begins_a_chunk():
    assert RULE.begins(None, Record(5, 5, None))


def test_a_chunk_stays_open_from_read_to_read_until_its_last_millisecond():
    worker = Worker("requests", rule=RULE)
    for offset, append_ms in enumerate((START_MS + 9_999, START_MS + 9_999, START_MS + 10_000)):
        worker.read([Record(offset, append_ms, None)])
    assert worker.chunks == [0, 2]


log_times = st.lists(st.tuples(st.integers(1, 9), st.integers(-9_000, 30_000)), min_size=1, max_size=60)


@given(log_times, st.booleans())
def test_runs_hold_every_record_once_in_order(steps, small):
    offset, append_ms, records = 0, START_MS, []
    for step, time_step in steps:
        offset, append_ms = offset + step, append_ms + time_step
        records.append(Record(offset, append_ms, b"x" * 300))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition, "RUN_BYTES", 1_000 if small else 10**9)
        runs = list(new_fold().runs(records))
    assert [record for _, run in runs for record in run] == records
    first = None
    for begins, run in runs:
        assert begins is RULE.begins(first, run[0])
        first = run[0] if begins else first
        assert not any(RULE.begins(first, record) for record in run[1:])
        assert not small or len(run) <= 5


def test_reading_before_a_chunk_is_open_is_a_bug():
    with pytest.raises(RuntimeError, match="no chunk is open"):
        new_fold().take_rows()


@pytest.mark.parametrize(
    ("start_s", "length_s", "refused"),
    [
        (-48 * 3600, 1, None),
        (-48 * 3600 - 1e-6, 1, "too_late"),
        (59, 1, None),
        (59, 1.000001, "too_early"),
        (60, 0, None),
        (60.000001, 0, "too_early"),
    ],
)
def test_times_are_bounded_by_the_brokers_clock(start_s, length_s, refused):
    worker = fold(request_batch(start_us=START_US + round(start_s * 1e6), length_us=round(length_s * 1e6)))
    assert worker.refused == ({0: refused} if refused else {})


DISHONEST = {
    "finished, never begun": {"finished": Finished([5], [5], [200])},
    "responded, never arrived": {"responded": Responded([5], [5], [200])},
    "aborted, never arrived": {"aborted_pending": Aborted([5], [5])},
    "aborted, never responded": {"aborted_streaming": Aborted([5], [5]), "pending": 1},
    "gone before it came": {"arrived": Arrived([9]), "aborted_pending": Aborted([8], [1])},
    "one too many": {"streaming": 2, "finished": Finished([1, 1, 1], [5, 5, 5], [200, 200, 200])},
}


@pytest.mark.parametrize("name", DISHONEST)
def test_more_leave_than_were_there_is_not_conserved(name):
    worker = fold(request_batch(**DISHONEST[name]))
    assert worker.refused == {0: "not_conserved"}
    (row,) = rows(worker, "rejected")
    assert row["detail"].startswith("more requests ended than there were: pending or streaming falls to -1")


PHASES = {
    "arrived": Arrived([1_000_001]),
    "responded": Responded([1_000_001], [1], [200]),
    "finished": Finished([1_000_001], [1], [200]),
    "aborted_pending": Aborted([1_000_001], [1]),
    "aborted_streaming": Aborted([1_000_001], [1]),
}


@pytest.mark.parametrize("phase", PHASES)
def test_an_offset_past_the_interval_is_named(phase):
    worker = fold(request_batch(pending=1, streaming=1, **{phase: PHASES[phase]}))
    assert worker.refused == {0: "out_of_interval"}
    assert rows(worker, "rejected")[0]["detail"] == (
        f"{phase}.at_us holds 1000001; the interval is 1000000 long"
    )


@pytest.mark.parametrize(
    "members", [DISHONEST["one too many"], {"arrived": PHASES["arrived"]}], ids=["not_conserved", "out"]
)
def test_a_refused_batch_changes_nothing_but_the_tallies(members):
    good = [request_batch(seq, START_US + seq * 1_000_000, arrived=Arrived([3])) for seq in (0, 2)]
    bad = request_batch(1, START_US + 1_000_000, **members)
    with_bad, without = fold(good[0], bad, good[1]), fold(*good)
    (found,), (expected,) = rows(with_bad, "request_windows"), rows(without, "request_windows")
    assert found == expected | {"version": 2}
    (boot,), (other,) = rows(with_bad, "boot_states"), rows(without, "boot_states")
    tallies = {"batches", "missing", "gap_starts", "gap_ends", "version", "recent_ends"}
    assert {name for name in boot if boot[name] != other[name]} <= tallies
    (chunk,) = rows(with_bad, "chunks")
    assert (chunk["messages"], chunk["events"], chunk["rejected"]) == (3, 2, 1)


def test_a_request_at_an_instant_is_counted_in_the_order_of_its_life():
    worker = fold(
        request_batch(
            arrived=Arrived([7]), responded=Responded([7], [0], [200]), finished=Finished([7], [0], [200])
        )
    )
    (row,) = rows(worker, "request_windows")
    assert (row["pending_max"], row["streaming_max"], row["active_max"]) == (1, 1, 1)
    assert (row["pending_request_us"], row["pending_last"], row["streaming_last"]) == (0, 0, 0)


def test_an_event_at_the_very_end_of_an_interval_counts_to_its_last_microsecond():
    worker = fold(request_batch(length_us=10_000_000, arrived=Arrived([10_000_000])))
    (row,) = rows(worker, "request_windows")
    assert (row["arrived"], row["pending_request_us"], row["pending_last"]) == (1, 1, 1)


def test_levels_are_carried_through_every_window_of_a_long_interval():
    worker = fold(request_batch(start_us=START_US - 25_000_000, length_us=25_000_000, pending=3))
    found = [(row["pending_request_us"], row["covered_from_us"]) for row in rows(worker, "request_windows")]
    assert found == [(15_000_000, 5_000_000), (30_000_000, 0), (30_000_000, 0)]


def test_the_oldest_pending_request_is_told_where_the_interval_ends():
    worker = fold(
        request_batch(
            start_us=START_US - 15_000_000, length_us=15_000_000, pending=1, oldest_pending_us=99_000_000
        )
    )
    assert [row["oldest_pending_us"] for row in rows(worker, "request_windows")] == [0, 99_000_000]


def test_an_interval_without_length_still_counts():
    worker = fold(request_batch(length_us=0, pending=2, arrived=Arrived([0])))
    (row,) = rows(worker, "request_windows")
    assert (row["arrived"], row["pending_last"], row["pending_max"], row["pending_request_us"]) == (
        1,
        3,
        3,
        0,
    )
