from __future__ import annotations

import pytest

from endpoint_analytics.pipeline.stream.rejections import RejectionLimit, TooManyRejectedError


def test_a_few_bad_senders_are_borne_for_ever() -> None:
    limit = RejectionLimit("requests", 0.9)
    for _ in range(100):
        limit.count(1000, 890)


def test_a_topic_that_is_nearly_all_bad_stops_us() -> None:
    limit = RejectionLimit("requests", 0.9)
    limit.count(1000, 1000)
    with pytest.raises(TooManyRejectedError, match="1990 of the last 2000 messages of requests"):
        limit.count(1000, 990)


def test_a_share_of_one_never_stops() -> None:
    limit = RejectionLimit("requests", 1.0)
    for _ in range(10):
        limit.count(1000, 1000)
