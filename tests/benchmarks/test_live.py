"""What the live benchmark sends: the same requests in both forms, as many as it says, none twice in a window."""

from collections import Counter

import orjson
from tests.benchmarks.live import SECONDS, Replica, requests_a_second
from tests.benchmarks.live_hardware import HardwareReplica

from endpoint_analytics.schemas.codec import decode_hardware, decode_requests

START_US = 1_790_000_000_000_000


def test_both_forms_hold_the_same_requests() -> None:
    batches, requests, waits = Replica(3), Replica(3), Counter[int]()
    for seq in range(2 * SECONDS):
        start_us = START_US + seq * 1_000_000
        batch = decode_requests(batches.message(seq, start_us))
        singles = [orjson.loads(value) for _, value in requests.request_messages(seq, start_us)]
        assert [(each["latency_us"], each["status"]) for each in singles] == [
            *zip(batch.finished.duration_us, batch.finished.status, strict=True)
        ]
        waits.update(each["ttfb_us"] for each in singles)
        waits.subtract(batch.responded.wait_us)
    assert not +waits
    assert not -waits


def test_totals_are_the_sums_of_the_messages() -> None:
    replica, statuses = Replica(5), Counter[int]()
    for seq in range(2 * SECONDS):
        batch = decode_requests(replica.message(seq, START_US + seq * 1_000_000))
        statuses.update(batch.responded.status)
        assert batch.totals.arrived == requests_a_second(5) * (seq + 1)
        assert batch.totals.status == {str(code): count for code, count in statuses.items()}


def test_a_window_has_no_second_twice() -> None:
    replica = Replica(0)
    seconds = [decode_requests(replica.message(seq, START_US)).finished.duration_us for seq in range(SECONDS)]
    assert len(set(map(tuple, seconds))) == SECONDS


def test_a_hardware_message_is_one() -> None:
    batch = decode_hardware(HardwareReplica(7).message(1, START_US))
    assert (batch.replica_id, batch.seq, len(batch.at_us)) == ("replica-7", 1, 1)
    assert [gpu.device for gpu in batch.accelerators] == ["gpu0"]


def test_levels_continue_from_message_to_message() -> None:
    replica, before = Replica(9), None
    for seq in range(2 * SECONDS):
        batch = decode_requests(replica.message(seq, START_US + seq * 1_000_000))
        if before is not None:
            came, answered, ended = (
                len(phase.at_us) for phase in (before.arrived, before.responded, before.finished)
            )
            assert batch.pending == before.pending + came - answered
            assert batch.streaming == before.streaming + answered - ended
        before = batch
