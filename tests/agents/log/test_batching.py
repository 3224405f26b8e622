"""Batches of ended requests: conserved, accepted by the worker's fold, and right in the long run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agents.folded import fold

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.log.batching import MAX_REQUESTS, OLDEST_US, ReaderState, next_batch, take
from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.schemas.codec import decode_requests, encode
from endpoint_analytics.schemas.requests import Totals

NOW_US = 1_795_550_600_000_000
SECOND = 1_000_000
CONFIG = AgentConfig(namespace="acme", endpoint="classifier", replica_id="replica-1", hardware=False)

REQUESTS = st.builds(
    Logged,
    status=st.one_of(st.none(), st.integers(100, 599)),
    end_us=st.one_of(st.none(), st.integers(NOW_US - 49 * 3_600 * SECOND, NOW_US + 100 * SECOND)),
    duration_us=st.one_of(st.none(), st.integers(0, 10**9), st.integers(0, 10**14)),
    wait_us=st.one_of(st.none(), st.integers(0, 10**9)),
    is_aborted=st.booleans(),
)


def batches_of(requests, now_us=NOW_US):
    found, state = [], ReaderState("boot-1")
    requests = list(requests)
    while True:
        number = take(requests, now_us)
        assert number or not requests
        batch, state = next_batch(CONFIG, state, requests[:number], {}, now_us)
        found.append(batch)
        del requests[:number]
        if not requests:
            return found, state


@given(st.lists(REQUESTS, max_size=30))
def test_whatever_is_logged_the_worker_takes_it_all(requests):
    batches, state = batches_of(requests)
    log = [(NOW_US // 1_000, encode(batch)) for batch in batches]
    for _, message in log:
        decode_requests(message)
    stored = fold(log)
    assert stored.rejected == {}
    expected = sums_of(state.totals)
    assert stored.boot_totals("boot-1") == expected
    assert stored.window_totals() == expected
    assert stored.boots["boot-1"]["missing"] == 0
    totals = state.totals
    assert totals.arrived == totals.finished + totals.aborted_pending + totals.aborted_streaming
    counted_alone = sum(
        1
        for r in requests
        if r.status is not None and (r.duration_us is None or r.status == 101) and is_recent(r)
    )
    assert totals.arrived + counted_alone + totals.dropped.get("too_old", 0) == len(requests)


def is_recent(request):
    return request.end_us is None or request.end_us >= NOW_US - OLDEST_US


def sums_of(totals):
    """The totals without drops: the fold sums what arrived."""
    names = (
        "arrived",
        "finished",
        "aborted_pending",
        "aborted_streaming",
        "status",
        "wait_us",
        "duration_us",
    )
    return Totals(**{name: getattr(totals, name) for name in names})


def test_what_a_batch_holds():
    requests = [
        Logged(200, NOW_US - 100_000, 300_000, 200_000),
        Logged(200, NOW_US - 50_000, 20_000, 10_000, is_aborted=True),
        Logged(None, NOW_US, 40_000, is_aborted=True),
        Logged(404),
        Logged(101, NOW_US - 10_000, 200_000, 1_000, is_aborted=True),
    ]
    batch, state = next_batch(
        CONFIG, ReaderState("boot-1", 7, NOW_US - 350_000), requests, {"unfit_line": 2}, NOW_US
    )
    assert (batch.seq, batch.start_us, batch.end_us, batch.pending) == (7, NOW_US - 400_000, NOW_US, 0)
    assert batch.arrived.at_us == [0, 330_000, 360_000]
    assert (batch.responded.at_us, batch.responded.wait_us) == ([200_000, 340_000], [200_000, 10_000])
    assert (batch.finished.at_us, batch.finished.duration_us) == ([300_000], [300_000])
    assert (batch.aborted_streaming.at_us, batch.aborted_pending.at_us) == ([350_000], [400_000])
    assert (batch.informational.at_us, batch.informational.status) == ([400_000, 390_000], [404, 101])
    assert batch.totals.status == {"200": 2, "404": 1, "101": 1}
    assert batch.totals.dropped == {"unfit_line": 2}
    assert (state.next_seq, state.end_us) == (8, NOW_US)


def test_a_heartbeat_continues_where_the_last_batch_ended():
    batch, state = next_batch(CONFIG, ReaderState("boot-1", 3, NOW_US - SECOND), [], {}, NOW_US)
    assert (batch.start_us, batch.end_us, batch.events) == (NOW_US - SECOND, NOW_US, 0)
    batch, _ = next_batch(CONFIG, state, [], {}, NOW_US + 3_600 * SECOND)
    assert batch.end_us - batch.start_us == 300 * SECOND  # a pause longer than a batch can tell
    batch, _ = next_batch(CONFIG, state, [], {}, NOW_US - SECOND)  # the clock was set back
    assert batch.start_us == batch.end_us == NOW_US - SECOND


def test_time_of_waiting_adds_up_over_batches_that_overlap():
    """A request of 25 s, logged at its end: each window that it spans gets its share afterwards."""
    start_us = NOW_US // (10 * SECOND) * (10 * SECOND)
    state, log = ReaderState("boot-1"), []
    for second in range(1, 31):
        at_us = start_us + second * SECOND
        ended = [Logged(200, at_us, 25 * SECOND, 15 * SECOND)] if second == 26 else []
        batch, state = next_batch(CONFIG, state, ended, {}, at_us)
        log.append((at_us // 1_000, encode(batch)))
    windows = {}
    for row in fold(log).windows:
        pending, streaming = windows.get(row["window_start"], (0, 0))
        windows[row["window_start"]] = (
            pending + row["pending_request_us"], streaming + row["streaming_request_us"]
        )  # fmt: skip
    found = [seconds for at in sorted(windows) for seconds in windows[at]]
    assert found == pytest.approx([9 * SECOND, 0, 6 * SECOND, 4 * SECOND, 0, 6 * SECOND], abs=1)


def test_an_old_stretch_is_parted_by_its_times_and_its_number():
    old = [Logged(200, NOW_US - hour * 3_600 * SECOND, 1_000) for hour in (3, 2, 1)]
    batches, _ = batches_of([*old, Logged(200, NOW_US, 1_000)])
    assert [batch.end_us for batch in batches] == [r.end_us for r in old] + [NOW_US]
    assert all(batch.start_us <= batch.end_us - 1_000 for batch in batches)
    batches, _ = batches_of([Logged(200, NOW_US, 1_000)] * (MAX_REQUESTS * 2 + 1))
    assert [len(batch.finished.at_us) for batch in batches] == [MAX_REQUESTS, MAX_REQUESTS, 1]


@pytest.mark.parametrize("end_us", [0, 10**15, NOW_US - OLDEST_US - 1])
def test_what_is_too_old_is_counted_and_not_sent(end_us):
    batch, _ = next_batch(CONFIG, ReaderState("boot-1"), [Logged(200, end_us, 1_000)], {}, NOW_US)
    assert (batch.events, batch.totals.dropped) == (0, {"too_old": 1})
