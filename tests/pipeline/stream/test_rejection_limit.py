from __future__ import annotations

from endpoint_analytics.pipeline.stream.rejection_limit import (
    REMEMBERED_MS,
    SPAN_MESSAGES,
    RejectionLimit,
    Share,
)


def share(bad: int, good: int, bad_senders: int = 1, good_senders: int = 1) -> Share:
    found = Share()
    found.count((b"bad-%d" % (n % bad_senders), False) for n in range(bad))
    found.count((b"good-%d" % (n % good_senders), True) for n in range(good))
    return found


def test_a_span_is_judged_when_it_is_full() -> None:
    limit = RejectionLimit(0.9)
    assert limit.count([(b"a", True)] * 1999, 0) is None
    full = limit.count([(b"a", False)] * 10, 0)
    assert full is not None
    assert (full.messages, full.rejected) == (2009, 10)
    assert limit.count([(b"a", False)], 0) is None


def test_nearly_all_messages_of_nearly_all_senders_are_too_much() -> None:
    assert RejectionLimit(0.9).is_exceeded_by(share(2000, 0))
    assert RejectionLimit(0.9).is_exceeded_by(share(1980, 20, bad_senders=100, good_senders=5))


def test_a_few_bad_senders_are_borne_however_much_they_send() -> None:
    assert not RejectionLimit(0.9).is_exceeded_by(share(1990, 10, bad_senders=2, good_senders=3))
    assert not RejectionLimit(0.9).is_exceeded_by(share(1700, 300, bad_senders=100, good_senders=1))


def test_a_share_of_one_never_objects() -> None:
    assert not RejectionLimit(1.0).is_exceeded_by(share(2000, 0))


def judged(limit: RejectionLimit, at_ms: int, *senders: tuple[bytes, bool]) -> bool:
    """Count a span in which these senders take turns, and return whether the limit objects."""
    found = limit.count([senders[n % len(senders)] for n in range(SPAN_MESSAGES)], at_ms)
    assert found is not None
    return limit.is_exceeded_by(found)


def test_a_burst_of_one_bad_sender_is_borne_while_the_others_are_remembered() -> None:
    limit = RejectionLimit(0.9)
    assert not judged(limit, 1_000, *((b"good-%d" % n, True) for n in range(5)))
    assert not any(
        judged(limit, 1_000 + passed_ms, (b"bad", False)) for passed_ms in range(0, REMEMBERED_MS, 100)
    )
    assert judged(limit, 1_000 + REMEMBERED_MS, (b"bad", False))


def test_who_spoke_in_the_same_span_or_the_one_that_is_not_full_is_remembered() -> None:
    limit = RejectionLimit(0.9)
    assert limit.count([(b"good-%d" % n, True) for n in range(5)], 1_000) is None
    assert not judged(limit, 20_000, (b"bad", False))
    assert not judged(limit, 30_000, (b"bad", False))
    assert judged(limit, 40_000, (b"bad", False))


def test_senders_that_all_turn_bad_are_too_much_at_once() -> None:
    limit = RejectionLimit(0.9)
    assert not judged(limit, 0, *((b"%d" % n, True) for n in range(30)))
    assert judged(limit, 1_000, *((b"%d" % n, False) for n in range(30)))


def test_bad_senders_that_take_the_place_of_good_ones_are_too_much_once_those_are_silent() -> None:
    """As during a rollout of a new version under new names."""
    limit = RejectionLimit(0.9)
    assert not judged(limit, 0, *((b"old-%d" % n, True) for n in range(30)))
    assert judged(limit, REMEMBERED_MS, *((b"new-%d" % n, False) for n in range(30)))


def test_who_was_bad_and_is_silent_speaks_for_nobody() -> None:
    limit = RejectionLimit(0.9)
    assert judged(limit, 0, *((b"bad-%d" % n, False) for n in range(30)))
    assert not judged(limit, 1_000, (b"good", True))
    assert judged(limit, 2_000, *((b"bad-%d" % n, False) for n in range(30)))
