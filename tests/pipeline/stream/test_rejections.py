from __future__ import annotations

from endpoint_analytics.pipeline.stream.rejections import (
    REMEMBERED_SPANS,
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
    assert limit.count([(b"a", True)] * 1999) is None
    full = limit.count([(b"a", False)] * 10)
    assert full is not None
    assert (full.messages, full.rejected) == (2009, 10)
    assert limit.count([(b"a", False)]) is None


def test_nearly_all_messages_of_nearly_all_senders_are_too_much() -> None:
    assert RejectionLimit(0.9).objects(share(2000, 0))
    assert RejectionLimit(0.9).objects(share(1980, 20, bad_senders=100, good_senders=5))


def test_a_few_bad_senders_are_borne_however_much_they_send() -> None:
    assert not RejectionLimit(0.9).objects(share(1990, 10, bad_senders=2, good_senders=3))
    assert not RejectionLimit(0.9).objects(share(1700, 300, bad_senders=100, good_senders=1))


def test_a_share_of_one_never_objects() -> None:
    assert not RejectionLimit(1.0).objects(share(2000, 0))


def judged(limit: RejectionLimit, *senders: tuple[bytes, bool], times: int = SPAN_MESSAGES) -> bool:
    """Count a span in which these senders take turns, and return whether it is objected to."""
    found = limit.count([senders[n % len(senders)] for n in range(times)])
    assert found is not None
    return limit.objects(found)


def test_a_burst_of_one_bad_sender_is_borne_while_the_others_are_remembered() -> None:
    limit = RejectionLimit(0.9)
    assert not judged(limit, *((b"good-%d" % n, True) for n in range(5)))
    assert not any(judged(limit, (b"bad", False)) for _ in range(REMEMBERED_SPANS - 1))
    assert judged(limit, (b"bad", False))


def test_senders_that_all_turn_bad_are_too_much_at_once() -> None:
    limit = RejectionLimit(0.9)
    assert not judged(limit, *((b"%d" % n, True) for n in range(30)))
    assert judged(limit, *((b"%d" % n, False) for n in range(30)))


def test_who_was_bad_and_is_silent_speaks_for_nobody() -> None:
    limit = RejectionLimit(0.9)
    assert judged(limit, *((b"bad-%d" % n, False) for n in range(30)))
    assert not judged(limit, (b"good", True))
    assert judged(limit, *((b"bad-%d" % n, False) for n in range(30)))
