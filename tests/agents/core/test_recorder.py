"""The recorder: phases in order, nothing beyond the bound, snapshots that keep each request's phases in order."""

from __future__ import annotations

import threading

from endpoint_analytics.agents.core.recorder import Recorder


class Clock:
    """A clock that advances by a microsecond per read."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        self.now_ns += 1_000
        return self.now_ns


def test_a_request_leaves_one_row_in_each_phase():
    recorder = Recorder(clock=Clock())
    request = recorder.arrive()
    request.respond_interim(103)
    request.respond(201)
    request.finish()
    snapshot = recorder.snapshot()
    assert snapshot.arrived == snapshot.responded == snapshot.finished == [request]
    assert snapshot.informational == [(3_000, 103)]
    assert (
        snapshot.start_ns,
        request.arrived_ns,
        request.responded_ns,
        request.ended_ns,
        snapshot.end_ns,
    ) == (
        1_000,
        2_000,
        4_000,
        5_000,
        6_000,
    )
    assert request.status == 201
    assert not snapshot.aborted_pending
    assert not snapshot.aborted_streaming


def test_an_abort_counts_at_the_stage_that_was_reached():
    recorder = Recorder()
    pending, streaming = recorder.arrive(), recorder.arrive()
    pending.abort()
    streaming.respond(200)
    streaming.abort()
    snapshot = recorder.snapshot()
    assert snapshot.aborted_pending == [pending]
    assert snapshot.aborted_streaming == [streaming]


def test_an_ended_request_stays_as_it_ended():
    recorder = Recorder()
    for end in ("finish", "abort"):
        request = recorder.arrive()
        request.respond(200)
        getattr(request, end)()
        request.respond_interim(103)
        request.respond(500)
        request.finish()
        request.abort()
    snapshot = recorder.snapshot()
    assert [request.status for request in snapshot.responded] == [200, 200]
    assert (len(snapshot.finished), len(snapshot.aborted_streaming), len(snapshot.aborted_pending)) == (
        1,
        1,
        0,
    )
    assert not snapshot.informational


def test_finished_without_a_status_is_aborted():
    recorder = Recorder()
    request = recorder.arrive()
    request.finish()
    assert recorder.snapshot().aborted_pending == [request]


def test_a_snapshot_takes_everything_once():
    recorder = Recorder()
    first = recorder.arrive()
    snapshot = recorder.snapshot()
    assert snapshot.arrived == [first]
    first.respond(200)
    after = recorder.snapshot()
    assert (after.arrived, after.responded) == ([], [first])
    assert after.start_ns == snapshot.end_ns


def test_a_full_recorder_drops_whole_requests_and_counts_them():
    recorder = Recorder(limit=3)
    requests = [recorder.arrive() for _ in range(5)]
    for request in requests:
        request.respond(200)
        request.finish()
    snapshot = recorder.snapshot()
    assert snapshot.arrived == snapshot.responded == snapshot.finished == requests[:3]
    assert recorder.read_dropped() == recorder.read_dropped() == {"recorder_full": 2}
    assert len([recorder.arrive() for _ in range(3)]) == len(recorder.snapshot().arrived)
    assert recorder.read_dropped() == {"recorder_full": 2}


def test_interim_statuses_are_bounded_too():
    recorder = Recorder(limit=2)
    request = recorder.arrive()
    for _ in range(5):
        request.respond_interim(102)
    assert len(recorder.snapshot().informational) == 2
    assert recorder.read_dropped() == {"informational_full": 3}


def test_threads_record_while_another_takes_snapshots():
    recorder = Recorder(limit=10**9)
    each, threads = 4_000, 3

    def record(number: int) -> None:
        for turn in range(each):
            request = recorder.arrive()
            if turn % 5 == number:
                request.abort()
                continue
            request.respond(200)
            if turn % 7 == 0:
                request.abort()
            else:
                request.finish()

    workers = [threading.Thread(target=record, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    seen: set[int] = set()
    responded: set[int] = set()
    ended = 0
    while True:
        last = not any(worker.is_alive() for worker in workers)
        snapshot = recorder.snapshot()
        seen.update(map(id, snapshot.arrived))
        keep.extend(snapshot.arrived)
        assert seen.issuperset(map(id, snapshot.responded))
        responded.update(map(id, snapshot.responded))
        assert responded.issuperset(map(id, snapshot.finished + snapshot.aborted_streaming))
        assert seen.issuperset(map(id, snapshot.aborted_pending))
        ended += len(snapshot.finished) + len(snapshot.aborted_streaming) + len(snapshot.aborted_pending)
        if last:
            break
    for worker in workers:
        worker.join()
    keep.clear()
    assert len(seen) == ended == each * threads


keep: list[object] = []  # so that no two requests share an id
