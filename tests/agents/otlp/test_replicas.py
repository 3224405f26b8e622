"""Batches, heartbeats and states of the replicas that spans tell of; held by the pipeline's own decoders."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agents.otlp.exports import NOW_US

from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.agents.otlp.identity import Identity
from endpoint_analytics.agents.otlp.replicas import HEARTBEAT_US, RUNNING_AGAIN_US, Replicas
from endpoint_analytics.schemas.codec import RequestEncoding, decode_replicas, decode_requests
from endpoint_analytics.schemas.packed_requests import is_packed

R1, R2 = Identity("acme", "shop", "r1"), Identity("acme", "shop", "r2")
IDLE_US = 900_000_000


def request(end_us: int = NOW_US, status: int | None = 200, duration_us: int = 1_000) -> Logged:
    return Logged(status, end_us, duration_us, is_aborted=status is None)


@given(st.lists(st.lists(st.integers(0, 3_600), min_size=1, max_size=20), min_size=1, max_size=8))
def test_batches_hold_every_request_in_numbered_order(groups):
    replicas = Replicas(IDLE_US)
    batches = [
        decode_requests(message.value)
        for number, ages_s in enumerate(groups)
        for message in replicas.batches(
            R1, [request(NOW_US - age_s * 1_000_000) for age_s in ages_s], NOW_US + number
        )
    ]
    assert [batch.seq for batch in batches] == list(range(len(batches)))
    assert len({batch.boot_id for batch in batches}) == 1
    ends = sorted(batch.start_us + at_us for batch in batches for at_us in batch.finished.at_us)
    assert ends == sorted(NOW_US - age_s * 1_000_000 for ages_s in groups for age_s in ages_s)
    assert batches[-1].totals.finished == sum(map(len, groups))


@pytest.mark.parametrize("encoding", get_args(RequestEncoding))
def test_batches_have_the_form_that_is_set(encoding):
    (message,) = Replicas(IDLE_US, encoding=encoding).batches(R1, [request()], NOW_US)
    assert is_packed(message.value) == (encoding == "packed")


def test_each_receiver_has_a_boot_of_its_own():
    boots = {
        decode_requests(Replicas(IDLE_US).batches(R1, [request()], NOW_US)[0].value).boot_id for _ in range(3)
    }
    assert len(boots) == 3


def test_heartbeats_of_the_silent():
    replicas = Replicas(IDLE_US)
    replicas.batches(R1, [request()], NOW_US)
    later_us = NOW_US + HEARTBEAT_US
    replicas.batches(R2, [request(later_us)], later_us)
    (beat,) = replicas.heartbeats(later_us)
    batch = decode_requests(beat.value)
    assert (batch.replica_id, batch.seq, batch.events, batch.end_us) == ("r1", 1, 0, later_us)
    assert replicas.heartbeats(later_us + 1) == []


def test_dropped_spans_and_lost_batches_are_in_the_next_totals():
    replicas = Replicas(IDLE_US)
    replicas.batches(R1, [request()], NOW_US)
    replicas.note_dropped(R1, {"too_old": 2})
    replicas.note_dropped(R2, {"too_old": 2})
    replicas.note_lost_batch(R1)
    (message,) = replicas.batches(R1, [request()], NOW_US)
    totals = decode_requests(message.value).totals
    assert (totals.dropped, totals.dropped_batches, totals.finished) == ({"too_old": 2}, {"too_large": 1}, 2)


def states_of(messages):
    return [(state.state, state.at_us) for state in (decode_replicas(message.value) for message in messages)]


def test_running_is_reported_at_the_first_request_and_again():
    replicas = Replicas(IDLE_US)
    replicas.batches(R1, [request(NOW_US - 5), request(NOW_US - 9)], NOW_US)
    assert states_of(replicas.running(R1)) == [("running", NOW_US - 5)]
    assert replicas.running(R1) == []
    later_us = NOW_US + RUNNING_AGAIN_US
    replicas.batches(R1, [request(later_us)], later_us)
    assert states_of(replicas.running(R1)) == [("running", later_us)]


def test_its_end_is_after_its_last_request_so_that_a_later_report_of_another_receiver_wins():
    replicas = Replicas(IDLE_US)
    replicas.batches(R1, [request()], NOW_US)
    replicas.running(R1)
    assert list(replicas.departed(NOW_US + IDLE_US - 1)) == []
    ((replica, reports),) = replicas.departed(NOW_US + IDLE_US)
    assert (replica, states_of(reports)) == (R1, [("terminated", NOW_US + 1)])
    assert len(replicas) == 0


def test_one_that_comes_back_has_a_new_boot():
    replicas = Replicas(IDLE_US)
    (first,) = replicas.batches(R1, [request()], NOW_US)
    list(replicas.departed(NOW_US + IDLE_US))
    (again,) = replicas.batches(R1, [request()], NOW_US + IDLE_US)
    first, again = decode_requests(first.value), decode_requests(again.value)
    assert again.boot_id != first.boot_id
    assert again.seq == 0


def test_a_clock_that_is_ahead_counts_as_now():
    replicas = Replicas(IDLE_US)
    (message,) = replicas.batches(R1, [request(NOW_US + 3_600_000_000)], NOW_US)
    assert decode_requests(message.value).end_us == NOW_US
    assert states_of(replicas.running(R1)) == [("running", NOW_US)]


def test_without_states_nothing_is_reported():
    replicas = Replicas(IDLE_US, states=False)
    replicas.batches(R1, [request()], NOW_US)
    assert replicas.running(R1) == []
    assert list(replicas.departed(NOW_US + IDLE_US)) == [(R1, [])]
    replicas.batches(R1, [request()], NOW_US)
    assert replicas.stop() == []


def test_stop_ends_all():
    replicas = Replicas(IDLE_US)
    for replica in (R1, R2):
        replicas.batches(replica, [request()], NOW_US)
    assert states_of(replicas.stop()) == [("terminated", NOW_US + 1)] * 2


def test_a_boot_keeps_the_partition_that_it_began_in():
    replicas = Replicas(IDLE_US)
    replicas.meet(R1, 3, NOW_US)
    replicas.meet(R1, 5, NOW_US)
    replicas.batches(R1, [request()], NOW_US)
    assert (replicas.partition(R1), replicas.partition(R2), R1 in replicas, R2 in replicas) == (
        3,
        None,
        True,
        False,
    )


def test_what_was_dropped_with_its_first_requests_is_counted():
    replicas = Replicas(IDLE_US)
    replicas.meet(R1, 0, NOW_US)
    replicas.note_dropped(R1, {"no_end": 1})
    (message,) = replicas.batches(R1, [request()], NOW_US)
    assert decode_requests(message.value).totals.dropped == {"no_end": 1}
