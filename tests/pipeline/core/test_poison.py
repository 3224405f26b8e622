"""The largest values that messages may hold, in any number: no row leaves the 64 bits of its column."""

from tests.pipeline.core.worker import Worker

from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.limits import MAX_DURATION_US, MAX_LEVEL, MAX_SUM_US
from endpoint_analytics.schemas.requests import Finished, RequestBatch

START_US = 1_790_000_000_000_000


def fold(batches) -> dict[str, list[dict[str, object]]]:
    worker = Worker("requests")
    worker.read([Record(i, START_US // 1000, encode(batch)) for i, batch in enumerate(batches)])
    worker.flush()
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
