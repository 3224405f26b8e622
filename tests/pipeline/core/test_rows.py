"""Times as ClickHouse reads them."""

from __future__ import annotations

from endpoint_analytics.pipeline.core.rows import seconds3, seconds6


def test_times_have_ten_digits_before_the_point() -> None:
    """ClickHouse does not parse fewer digits as seconds: a boot whose first batch is refused has time 0."""
    assert seconds6(0) == "0000000000.000000"
    assert seconds3(0) == "0000000000.000"
    assert seconds6(1_790_000_000_000_001) == "1790000000.000001"
    assert seconds3(1_790_000_000_001) == "1790000000.001"
