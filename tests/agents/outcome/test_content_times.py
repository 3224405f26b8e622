"""The times of events with content: first, last, and every gap counted once."""

from hypothesis import given
from hypothesis import strategies as st

from endpoint_analytics.agents.outcome.content_times import ContentTimes
from endpoint_analytics.schemas.sketch_buckets import bucket_of_us

MS = 1_000_000


def times_of(*at_ns: int) -> ContentTimes:
    times = ContentTimes()
    for each in at_ns:
        times.add(each)
    return times


def test_gaps_are_counted_by_bucket():
    times = times_of(0, 20 * MS, 40 * MS, 140 * MS)
    assert times.gaps == {bucket_of_us(20_000): 2, bucket_of_us(100_000): 1}
    assert times.max_gap_ns == 100 * MS


def test_without_events_there_are_no_times():
    times = times_of()
    assert (times.first_ns, times.last_ns, times.max_gap_ns, times.gaps) == (None, None, None, {})


def test_one_event_has_no_gap():
    times = times_of(0)
    assert (times.first_ns, times.last_ns, times.max_gap_ns, times.gaps) == (0, 0, None, {})


def test_events_at_once_have_gaps_of_nothing():
    times = times_of(5, 5, 5)
    assert (times.max_gap_ns, times.gaps) == (0, {0: 2})


def test_a_clock_that_goes_back_is_a_gap_of_nothing():
    times = times_of(5 * MS, 3 * MS, 4 * MS)
    assert times.gaps == {0: 1, bucket_of_us(1_000): 1}


@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=30).map(sorted))
def test_each_event_but_the_first_has_a_gap(at_ns):
    times = times_of(*at_ns)
    assert sum(times.gaps.values()) == len(at_ns) - 1 == times.events - 1
    assert (times.first_ns, times.last_ns) == (at_ns[0], at_ns[-1])
