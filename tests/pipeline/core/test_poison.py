"""The largest values that messages may contain, in any number: no row overflows the 64 bits of its column."""

from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.core.worker import Worker
from tests.schemas.messages import engine_batches, hardware_batches, request_batches

from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.limits import MAX_DURATION_US, MAX_LEVEL, MAX_SUM_US
from endpoint_analytics.schemas.requests import Finished, RequestBatch

START_US = 1_790_000_000_000_000
SIGNED = {"sum", "min", "max", "last"}


def check_columns(rows: dict[str, list[dict[str, object]]]) -> None:
    """Fail unless every number fits its column."""
    for row in (row for of_table in rows.values() for row in of_table):
        for name, value in row.items():
            for number in value if isinstance(value, list) else [value]:
                if name not in SIGNED and not isinstance(number, str):
                    assert isinstance(number, int), name
                    assert 0 <= number < 2**64, name


def read_all(stream: str, messages) -> Worker:
    """Read messages that the broker received when they ended."""
    worker = Worker(stream)
    worker.read([Record(i, m.end_us // 1000, encode(m)) for i, m in enumerate(messages)])
    worker.close()
    return worker


@given(st.lists(request_batches(), min_size=1, max_size=5))
def test_any_request_batches_that_decode_can_be_folded(batches):
    worker = read_all("requests", batches)
    assert set(worker.refused.values()) <= {"not_conserved", "out_of_interval", "too_early", "too_late"}
    check_columns({table: list(rows.values()) for table, rows in worker.table.final().items()})


@given(st.lists(hardware_batches(), min_size=1, max_size=5))
def test_any_hardware_batches_that_decode_can_be_folded(batches):
    worker = read_all("hardware", batches)
    check_columns({table: list(rows.values()) for table, rows in worker.table.final().items()})


@given(st.lists(engine_batches(), min_size=1, max_size=5))
def test_any_engine_batches_that_decode_can_be_folded(batches):
    worker = read_all("engine", batches)
    check_columns({table: list(rows.values()) for table, rows in worker.table.final().items()})


def fold(batches) -> dict[str, list[dict[str, object]]]:
    worker = Worker("requests")
    worker.read([Record(i, START_US // 1000, encode(batch)) for i, batch in enumerate(batches)])
    worker.close()
    return {table: list(rows.values()) for table, rows in worker.table.final().items()}


def batch(seq, **members) -> RequestBatch:
    members = {"pending": 0, "streaming": 0, "end_us": START_US + 10_000_000, **members}
    return RequestBatch(
        namespace="a", endpoint="b", replica_id="c", boot_id="d", seq=seq, start_us=START_US, **members
    )


def test_the_most_pending_requests_in_every_batch_of_a_chunk():
    rows = fold([batch(seq, pending=MAX_LEVEL, streaming=MAX_LEVEL) for seq in range(5_000)])
    (window,) = rows["request_windows"]
    assert window["pending_request_us"] == MAX_LEVEL * 10_000_000 * 5_000
    assert window["active_max"] == 2 * MAX_LEVEL


def test_sums_of_the_longest_durations_end_at_their_bound():
    longest = Finished([0] * 90_000, [MAX_DURATION_US] * 90_000, [200] * 90_000)
    rows = fold([batch(seq, streaming=90_000, finished=longest) for seq in range(90)])
    (window,) = rows["request_windows"]
    (boot,) = rows["boot_states"]
    assert 90 * 90_000 * MAX_DURATION_US > MAX_SUM_US
    assert window["latency_sum_us"] == boot["latency_sum_us"] == MAX_SUM_US
    assert window["latency_count"] == boot["finished"] == 90 * 90_000
