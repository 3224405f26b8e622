"""Latency distributions are parsed from text, and draw matching values."""

from __future__ import annotations

import random
import statistics

import pytest

from endpoint_analytics.infra.fleet.latency import LatencyDistribution, parse_latency
from endpoint_analytics.schemas.limits import MAX_DURATION_US


def draws(text: str) -> list[int]:
    rng = random.Random(1)
    return [parse_latency(text).draw_us(rng) for _ in range(5_000)]


def test_a_law_takes_its_parameters_from_the_text() -> None:
    assert parse_latency("pareto:0.5:2") == LatencyDistribution("pareto", (0.5, 2.0))
    assert set(draws("constant:0.25")) == {250_000}
    assert statistics.median(draws("lognormal:0.1:0.5")) == pytest.approx(100_000, rel=0.05)
    assert min(draws("pareto:0.02:1.5")) >= 20_000
    slow = sum(us > 1_000_000 for us in draws("bimodal:0.01:2:0.2"))
    assert slow == pytest.approx(1000, rel=0.15)


def test_durations_stay_within_what_a_message_may_hold() -> None:
    assert max(draws("pareto:3600:0.1")) == MAX_DURATION_US


@pytest.mark.parametrize("text", ["gamma", "pareto:1", "constant:-1", "lognormal:a:b", ""])
def test_an_unknown_distribution_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"latency distribution|parameters|float"):
        parse_latency(text)
