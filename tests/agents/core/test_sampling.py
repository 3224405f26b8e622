"""The sampling thread: a steady pace, intervals that meet, gaps where there is no sample, an end."""

from __future__ import annotations

import itertools
import threading
import time

from endpoint_analytics.agents.core.sampling import Interval, SamplingThread

ENOUGH = 4


def run(take, may_sample=lambda: True):
    """Return what was posted until there were ENOUGH."""
    posted, enough = [], threading.Event()

    def post(interval, sample):
        posted.append((interval, sample))
        if len(posted) == ENOUGH:
            enough.set()

    thread = SamplingThread("sampling", take, post, 0.005, may_sample)
    thread.start()
    assert enough.wait(30)
    thread.stop()
    thread._thread.join(30)
    assert not thread._thread.is_alive()
    return posted


def test_samples_have_seqs_of_their_own_and_intervals_that_meet():
    count = itertools.count()
    posted = run(lambda at_ns: next(count))
    assert [(interval.seq, sample) for interval, sample in posted[:ENOUGH]] == [(n, n) for n in range(ENOUGH)]
    for (before, _), (after, _) in itertools.pairwise(posted):
        assert after.start_us == before.end_us
        assert after.length_us > 0
    assert abs(posted[-1][0].end_us - time.time() * 1e6) < 60e6


def test_samples_are_at_least_the_interval_apart_and_at_most_as_long_as_the_intervals():
    begin_s = time.monotonic()
    posted = run(lambda at_ns: 1)
    passed_s = time.monotonic() - begin_s
    assert passed_s >= (ENOUGH - 1) * 0.005
    assert sum(interval.length_us for interval, _ in posted) <= passed_s * 1e6 + 1_000
    assert Interval(0, 1_700_000_000_000_000, 1_700_000_000_250_000).length_us == 250_000


def test_without_a_sample_there_is_a_gap_and_no_seq():
    count = itertools.count()
    posted = run(lambda at_ns: n if (n := next(count)) % 3 else None)
    assert [interval.seq for interval, _ in posted] == list(range(len(posted)))
    for (before, first), (after, second) in itertools.pairwise(posted):
        if second - first > 1:
            assert after.start_us == after.end_us > before.end_us
        else:
            assert after.start_us == before.end_us


def test_nothing_is_taken_while_another_process_samples():
    asked = itertools.count()
    taken = []
    run(lambda at_ns: taken.append(next(asked)) or 1, may_sample=lambda: next(asked) >= 10)
    assert taken[0] > 10


def test_an_agent_that_is_gone_ends_the_thread():
    def post(interval, sample):
        raise RuntimeError("Event loop is closed")

    thread = SamplingThread("sampling", lambda at_ns: 1, post, 0.01)
    thread.start()
    thread._thread.join(30)
    assert not thread._thread.is_alive()
