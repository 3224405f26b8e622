"""How far a partition is stored: what may be reported, and what may not."""

from __future__ import annotations

from endpoint_analytics.pipeline.stream.partition_progress import (
    BrokerClock,
    LogEnd,
    Now,
    PartitionProgress,
    Stored,
    WorkerProgress,
)

T = 1_800_000_000_000
IDLE = Stored(5, None)


def at(now_ms: int) -> Now:
    """The time of two clocks that agree."""
    return Now(now_ms, now_ms)


def test_an_idle_partition_is_read_to_when_its_end_was_asked_for() -> None:
    progress = PartitionProgress()
    assert not progress.advance(IDLE)
    progress.observe_end(LogEnd(T, 5))
    assert progress.advance(IDLE)
    assert progress.read_to_ms == T


def test_what_is_not_stored_yet_is_not_said_to_be_read() -> None:
    progress = PartitionProgress()
    progress.observe_end(LogEnd(T, 7))
    assert progress.advance(Stored(6, T - 60_000))
    assert progress.read_to_ms == T - 60_000
    assert progress.advance(Stored(7, T - 50_000))
    assert progress.read_to_ms == T


def test_a_look_that_is_never_quite_reached_gives_way_to_none() -> None:
    """In a steady stream, the log's end always moves on before it is reached: the oldest is kept until reached."""
    progress = PartitionProgress()
    progress.observe_end(LogEnd(T, 10))
    progress.observe_end(LogEnd(T + 1_000, 20))
    progress.observe_end(LogEnd(T + 2_000, 30))
    assert progress.advance(Stored(12, T - 5_000))
    assert progress.read_to_ms == T
    assert not progress.advance(Stored(29, T - 1))
    assert progress.advance(Stored(30, None))
    assert progress.read_to_ms == T + 2_000


def test_it_never_goes_back() -> None:
    progress = PartitionProgress()
    progress.observe_end(LogEnd(T, 5))
    progress.advance(IDLE)
    assert not progress.advance(Stored(6, T - 1))
    assert progress.read_to_ms == T


def test_a_pause_begins_a_new_steady_time() -> None:
    progress = PartitionProgress()
    for at_ms in (T, T + 5_000, T + 10_000):
        progress.observe_end(LogEnd(at_ms, 5))
        progress.advance(IDLE)
    assert progress.steady_since_ms == T
    progress.observe_end(LogEnd(T + 70_000, 5))
    progress.advance(IDLE)
    assert progress.steady_since_ms == T + 70_000


def read_at(progress: PartitionProgress, *moments_ms: int) -> None:
    for at_ms in moments_ms:
        progress.observe_end(LogEnd(at_ms, 5))
        progress.advance(IDLE)


def test_a_pause_is_remembered_by_how_far_was_read_before() -> None:
    progress = PartitionProgress()
    read_at(progress, T, T + 5_000, T + 11_000)
    assert (progress.steady_since_ms, progress.stopped_ms) == (T + 11_000, T + 5_000)
    read_at(progress, *range(T + 12_000, T + 40_000, 1_000), T + 90_000)
    assert (progress.steady_since_ms, progress.stopped_ms) == (T + 90_000, T + 39_000)


def test_of_pauses_in_quick_succession_the_first_one_counts() -> None:
    """Between them, agents had no time to report."""
    progress = PartitionProgress()
    read_at(progress, T, T + 400_000, T + 403_000, T + 409_000)
    assert (progress.steady_since_ms, progress.stopped_ms) == (T + 409_000, T)


def test_many_short_pauses_hide_a_silence_only_for_a_while() -> None:
    """As with a ClickHouse that stores nothing for six seconds of every ten: everything in the log was read."""
    progress, at_ms = PartitionProgress(), T
    for _ in range(60):
        read_at(progress, at_ms, at_ms + 1_000, at_ms + 2_000, at_ms + 3_000, at_ms + 4_000)
        at_ms += 10_000
        assert at_ms - progress.stopped_ms < 60_000 or not progress.stopped_ms


def test_a_new_owner_continues_what_was_reported() -> None:
    progress = WorkerProgress()
    reported = {("requests", 0): PartitionProgress.of_report(T, T - 90_000, T - 95_000)}
    assert progress.is_new("requests", 0)
    progress.observe_ends(at(T + 3_000), [("requests", 0, 5)], reported)
    assert not progress.is_new("requests", 0)
    [row] = progress.advance(at(T + 3_000), [("requests", 0, IDLE)])
    assert [row.values[name] for name in ("read_to", "steady_since", "stopped_at")] == [
        "1800000003.000",
        "1799999910.000",
        "1799999905.000",
    ]
    late = WorkerProgress()
    reported[("requests", 0)].read_to_ms = T
    late.observe_ends(at(T + 30_000), [("requests", 0, 5)], reported)
    [row] = late.advance(at(T + 30_000), [("requests", 0, IDLE)])
    assert [row.values[name] for name in ("steady_since", "stopped_at")] == [
        "1800000030.000",
        "1800000000.000",
    ]


def test_a_clock_that_is_ahead_puts_looks_back() -> None:
    clock = BrokerClock()
    assert clock.broker_ms(at(T)) == T
    clock.observe(T, T - 900)
    assert clock.broker_ms(at(T)) == T
    ahead = BrokerClock()
    for second in range(100):
        ahead.observe(T + second * 1_000, T + second * 1_000 - 30_000 - 100 * (second % 7))
    assert ahead.broker_ms(at(T)) == T - 30_000


def test_only_partitions_that_are_ours_are_told_of() -> None:
    progress = WorkerProgress()
    progress.observe_ends(at(T), [("requests", 0, 5), ("requests", 1, 5)])
    rows = progress.advance(at(T), [("requests", 0, IDLE), ("requests", 2, IDLE)])
    assert [(row.values["stream"], row.values["partition"]) for row in rows] == [("requests", 0)]
    progress.observe_ends(at(T + 1_000), [("requests", 1, 5)])
    assert progress.advance(at(T), [("requests", 0, IDLE)]) == []
    row = rows[0].values
    assert row["read_to"] == "1800000000.000"
    assert (row["next_offset"], row["end_offset"]) == (5, 5)


def test_a_stamp_of_the_future_says_nothing_of_it() -> None:
    """A CreateTime topic has its senders' timestamps, but a progress row counts forever."""
    progress = WorkerProgress()
    progress.observe_ends(at(T), [("requests", 0, 5)])
    [row] = progress.advance(at(T + 500), [("requests", 0, Stored(5, T + 86_400_000))])
    assert row.values["read_to"] == "1800000000.500"
