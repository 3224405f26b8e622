"""Series from steps, without a database: what is a number, what is 0, and what is a gap."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from endpoint_analytics.pipeline.serve.api.columns import distribution_series, pending_series, request_series
from endpoint_analytics.pipeline.serve.api.models import Series
from endpoint_analytics.pipeline.store.series import QUANTILES, RequestStep

AT = range(0, 40, 10)


def step(**figures: Any) -> RequestStep:
    """Return a step with these figures; all others are 0."""
    return RequestStep(**{field.name: 0 for field in fields(RequestStep)} | {"status": {}} | figures)


def values(series: list[Series]) -> dict[str, list[float | int | None]]:
    return {each.name: list(each.values) for each in series}


def test_a_step_that_nobody_reported_is_a_gap_and_one_without_requests_is_0() -> None:
    steps = {0: step(status={200: 3, 204: 1, 429: 2}, aborted_pending=1, aborted_streaming=2), 20: step()}
    found = values(request_series(AT, steps, by_status=False))
    assert found["2xx"] == [4, None, 0, None]
    assert found["4xx"] == [2, None, 0, None]
    assert found["5xx"] == [0, None, 0, None]
    assert found["aborted"] == [3, None, 0, None]


def test_by_status_there_is_a_series_for_each_status_of_any_step() -> None:
    steps = {0: step(status={200: 3}), 10: step(status={503: 1})}
    found = values(request_series(AT, steps, by_status=True))
    assert found == {"200": [3, 0, None, None], "503": [0, 1, None, None], "aborted": [0, 0, None, None]}


def test_levels_are_means_over_the_time_that_was_reported() -> None:
    steps = {
        0: step(
            covered_us=5_000_000,
            pending_request_us=10_000_000,
            streaming_request_us=2_500_000,
            pending_max=4,
            pending_last=1,
            streaming_last=2,
            oldest_pending_us=1_500_000,
        ),
        10: step(),
    }
    found = values(pending_series(AT, steps))
    assert found["pending_mean"] == [2.0, None, None, None]
    assert found["streaming_mean"] == [0.5, None, None, None]
    assert found["active_mean"] == [2.5, None, None, None]
    assert found["pending_max"] == [4, 0, None, None]
    assert found["active_last"] == [3, 0, None, None]
    assert found["oldest_pending"] == [1.5, 0.0, None, None]


@pytest.mark.parametrize("group", ["latency", "ttfb"])
def test_a_step_without_a_finished_request_has_no_latency(group: Any) -> None:
    figures = {f"{group}_count": 4, f"{group}_sum_us": 2_000_000, f"{group}_max_us": 900_000}
    steps = {0: step(**figures), 10: step()}
    found = values(distribution_series(group, AT, steps, {0: tuple(q * 1.0 for q in QUANTILES)}))
    assert list(found) == [*(f"p{q * 100:.0f}" for q in QUANTILES), "mean", "max", "count"]
    assert found["p95"] == [0.95, None, None, None]
    assert found["mean"] == [0.5, None, None, None]
    assert found["max"] == [0.9, None, None, None]
    assert found["count"] == [4, 0, None, None]
