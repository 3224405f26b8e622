"""The batcher's invariants, for any request lifecycles, snapshot times and batch sizes."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint_analytics.agents.core.batching import Batcher, split
from endpoint_analytics.agents.core.clock import read_offset_us, steady_offset_us
from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.recorder import RecordedRequest, Recorder
from endpoint_analytics.schemas.codec import decode_requests, encode
from endpoint_analytics.schemas.limits import MAX_INTERVAL_US
from endpoint_analytics.schemas.requests import RequestBatch

CONFIG = AgentConfig(namespace="acme", endpoint="classifier", replica_id="replica-1")
OFFSET_US = 1_700_000_000_000_000


class Clock:
    def __init__(self, now_ns: int = 5_000_000_000) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


# What happens next: time passes; a request arrives; one of the open requests continues; a snapshot is taken.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(0, 3_000_000)),
        st.tuples(st.just("arrive"), st.just(0)),
        st.tuples(st.sampled_from(["respond_interim", "respond", "finish", "abort"]), st.integers(0, 20)),
        st.tuples(st.just("cut"), st.just(0)),
    ),
    max_size=120,
)


def play(steps: list[tuple[str, int]], max_events: int, limit: int) -> tuple[list[RequestBatch], Recorder]:
    clock = Clock()
    recorder = Recorder(limit, clock)
    batcher = Batcher(CONFIG, "boot-1", max_events)
    requests: list[RecordedRequest] = []
    batches: list[RequestBatch] = []
    for step, number in [*steps, ("cut", 0)]:
        if step == "pass":
            clock.now_ns += number
        elif step == "arrive":
            requests.append(recorder.arrive())
        elif step == "cut":
            batches += batcher.batches(recorder.snapshot(), OFFSET_US, recorder.read_dropped(), {})
        elif requests:
            request = requests[number % len(requests)]
            if step in {"respond_interim", "respond"}:
                getattr(request, step)(103 if step == "respond_interim" else 200 + number)
            else:
                getattr(request, step)()
    return batches, recorder


def check_laws(batches: list[RequestBatch]) -> None:
    """Replay the events of each batch as the fold does, and compare them with levels and totals."""
    pending = streaming = 0
    counted: Counter[str] = Counter()
    wait_us = duration_us = 0
    for seq, batch in enumerate(batches):
        assert decode_requests(encode(batch)) == batch
        assert batch.seq == seq
        assert (batch.pending, batch.streaming) == (pending, streaming)
        length_us = batch.end_us - batch.start_us
        if seq:
            assert batch.start_us == batches[seq - 1].end_us
        events = [
            *((at_us, 0, "arrived") for at_us in batch.arrived.at_us),
            *((at_us, 1, "responded") for at_us in batch.responded.at_us),
            *((at_us, 2, "aborted_pending") for at_us in batch.aborted_pending.at_us),
            *((at_us, 2, "finished") for at_us in batch.finished.at_us),
            *((at_us, 3, "aborted_streaming") for at_us in batch.aborted_streaming.at_us),
        ]
        for at_us, _, phase in sorted(events):
            assert 0 <= at_us <= length_us
            counted[phase] += 1
            pending += {"arrived": 1, "responded": -1, "aborted_pending": -1}.get(phase, 0)
            streaming += {"responded": 1, "finished": -1, "aborted_streaming": -1}.get(phase, 0)
            assert pending >= 0
            assert streaming >= 0
        assert all(0 <= at_us <= length_us for at_us in batch.informational.at_us)
        for status in batch.responded.status + batch.informational.status:
            counted[f"status {status}"] += 1
        wait_us += sum(batch.responded.wait_us)
        duration_us += sum(batch.finished.duration_us)
        totals = batch.totals
        for name in ("arrived", "finished", "aborted_pending", "aborted_streaming"):
            assert getattr(totals, name) == counted[name]
        assert totals.status == {name[7:]: n for name, n in counted.items() if name.startswith("status")}
        assert (totals.wait_us, totals.duration_us) == (wait_us, duration_us)
        active = pending + streaming
        assert totals.arrived == (
            totals.finished + totals.aborted_pending + totals.aborted_streaming + active
        )
        assert bool(batch.oldest_pending_us) <= bool(pending)


@given(STEPS, st.integers(1, 30), st.integers(1, 50))
@settings(max_examples=200)
def test_any_life_is_conserved(steps, max_events, limit):
    batches, recorder = play(steps, max_events, limit)
    check_laws(batches)
    assert all(batch.events <= max_events for batch in batches)
    assert not recorder.arrived


@given(STEPS, st.integers(1, 10))
@settings(max_examples=100)
def test_splitting_changes_no_count(steps, max_events):
    whole, _ = play(steps, 10**6, 10**6)
    parts, _ = play(steps, max_events, 10**6)
    assert parts[-1].totals == whole[-1].totals
    assert parts[-1].end_us == whole[-1].end_us
    for column in ("wait_us", "status"):
        reported = [value for batch in whole for value in getattr(batch.responded, column)]
        assert Counter(reported) == Counter(
            value for batch in parts for value in getattr(batch.responded, column)
        )


def test_batches_of_running_threads_are_conserved():
    recorder = Recorder(limit=10**9)
    batcher = Batcher(CONFIG, "boot-1", 500)

    def record() -> None:
        for turn in range(3_000):
            request = recorder.arrive()
            if turn % 3:
                request.respond(200)
                request.finish()
            else:
                request.abort()

    workers = [threading.Thread(target=record) for _ in range(3)]
    for worker in workers:
        worker.start()
    batches: list[RequestBatch] = []
    offset_us = read_offset_us()
    while True:
        last = not any(worker.is_alive() for worker in workers)
        batches += batcher.batches(recorder.snapshot(), offset_us, {}, {})
        if last:
            break
    for worker in workers:
        worker.join()
    check_laws(batches)
    assert batches[-1].totals.arrived == 9_000
    assert batcher.active == 0


def test_exact_batch():
    clock = Clock(10_000_000_000)
    recorder = Recorder(clock=clock)
    batcher = Batcher(CONFIG, "boot-1")
    clock.now_ns += 1_000_000
    slow = recorder.arrive()
    clock.now_ns += 1_000_000
    quick = recorder.arrive()
    clock.now_ns += 500_000
    quick.respond(404)
    clock.now_ns += 250_000
    quick.finish()
    clock.now_ns += 250_000
    (batch,) = batcher.batches(recorder.snapshot(), OFFSET_US, {"recorder_full": 2}, {"buffer_full": 3})
    assert slow.stage == 0
    assert batch.end_us == OFFSET_US + 10_003_000
    assert batch.end_us - batch.start_us == 3_000
    assert batch.arrived.at_us == [1_000, 2_000]
    assert (batch.responded.at_us, batch.responded.wait_us, batch.responded.status) == ([2_500], [500], [404])
    assert (batch.finished.at_us, batch.finished.duration_us, batch.finished.status) == (
        [2_750],
        [750],
        [404],
    )
    assert batch.oldest_pending_us == 2_000
    assert batch.totals.dropped == {"recorder_full": 2}
    assert batch.totals.dropped_batches == {"buffer_full": 3}
    (idle,) = batcher.batches(recorder.snapshot(), OFFSET_US, {}, {})
    assert (idle.events, idle.seq, idle.pending, idle.streaming) == (0, 1, 1, 0)


def test_aborted_requests_have_their_ages():
    clock = Clock(10_000_000_000)
    recorder = Recorder(clock=clock)
    waiting, streaming = recorder.arrive(), recorder.arrive()
    clock.now_ns += 1_500_000
    streaming.respond(200)
    clock.now_ns += 2_000_000
    waiting.abort()
    clock.now_ns += 500_000
    streaming.abort()
    (batch,) = Batcher(CONFIG, "boot-1").batches(recorder.snapshot(), OFFSET_US, {}, {})
    assert (batch.aborted_pending.at_us, batch.aborted_pending.age_us) == ([3_500], [3_500])
    assert (batch.aborted_streaming.at_us, batch.aborted_streaming.age_us) == ([4_000], [4_000])


def test_a_busy_snapshot_is_split_at_its_events_and_the_parts_meet():
    """Every kind of event counts towards the limit."""
    clock = Clock(10_000_000_000)
    recorder = Recorder(clock=clock)
    requests = []
    for _ in range(4):
        clock.now_ns += 1_000_000
        requests.append(recorder.arrive())
    requests[0].respond_interim(103)
    for request in requests[:3]:
        clock.now_ns += 1_000_000
        request.respond(200)
    requests[0].finish()
    requests[1].abort()
    requests[3].abort()
    clock.now_ns += 1_000_000
    snapshot = recorder.snapshot()
    rows = 4 + 1 + 3 + 1 + 1 + 1
    assert list(split(snapshot, rows)) == [snapshot]
    parts = list(split(snapshot, rows - 1))
    assert len(parts) == 2
    assert (parts[0].start_ns, parts[1].end_ns) == (snapshot.start_ns, snapshot.end_ns)
    assert parts[0].end_ns == parts[1].start_ns == 10_007_000_000  # of the last event in the first part
    assert len(parts[1].aborted_pending) + len(parts[1].aborted_streaming) == 1
    assert [len(part.arrived) for part in split(snapshot, 3)] == [3, 1, 0, 0]


def test_an_event_that_was_late_for_its_snapshot_is_reported_at_the_next_start():
    clock = Clock()
    recorder = Recorder(clock=clock)
    batcher = Batcher(CONFIG, "boot-1")
    request = RecordedRequest(recorder, clock.now_ns)  # the clock was read, and the row not yet written
    clock.now_ns += 1_000_000
    list(batcher.batches(recorder.snapshot(), OFFSET_US, {}, {}))
    recorder.arrived.append(request)
    clock.now_ns += 1_000_000
    (batch,) = batcher.batches(recorder.snapshot(), OFFSET_US, {}, {})
    assert batch.arrived.at_us == [0]


def test_a_machine_that_slept_makes_a_valid_batch():
    clock = Clock()
    recorder = Recorder(clock=clock)
    batcher = Batcher(CONFIG, "boot-1")
    request = recorder.arrive()
    clock.now_ns += 30 * 86_400 * 10**9
    request.respond(200)
    request.finish()
    (batch,) = batcher.batches(recorder.snapshot(), OFFSET_US, {}, {})
    assert decode_requests(encode(batch)) == batch
    assert batch.end_us - batch.start_us == MAX_INTERVAL_US


@pytest.mark.parametrize(
    ("sent", "reported"), [(42, 599), (0, 599), (None, 599), (600, 599), (999, 599), (499, 499)]
)
def test_an_odd_status_does_not_spoil_the_batch(sent, reported):
    recorder = Recorder()
    request = recorder.arrive()
    request.respond(sent)
    (batch,) = Batcher(CONFIG, "boot-1").batches(recorder.snapshot(), OFFSET_US, {}, {})
    assert batch.responded.status == [reported]


def test_a_clock_that_drifts_leaves_no_gaps_and_one_that_jumps_is_followed():
    assert steady_offset_us(1_000_000, 1_000_999) == 1_000_000
    assert steady_offset_us(1_000_000, 999_001) == 1_000_000
    assert steady_offset_us(1_000_000, 1_001_000) == 1_001_000
    assert steady_offset_us(1_000_000, 3_600_000_000) == 3_600_000_000
