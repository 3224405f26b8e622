"""What replicas need, from costs: the fit finds the costs that made the figures, and more replicas need more."""

from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.benchmarks.sizing_model import (
    WORKER_SHARE,
    Cost,
    Costs,
    Load,
    Size,
    fit,
    render_costs,
    render_sizes,
    size,
)

LOADS = [
    Load(200, 4_000),
    Load(1_000, 20_000),
    Load(10_000, 200_000),
    Load(1_000, 3_000),
    Load(1_000, 3_000, 1_000),
]
COSTS = Costs(
    worker=Cost(0.01, 20e-6, 1e-6, 30e-6),
    clickhouse=Cost(0.02, 20e-6, 0.0, 10e-6),
    broker_message_s=100e-6,
    message_bytes=500,
    request_bytes=50,
    hardware_message_bytes=700,
    ten_seconds_bytes=400,
    minute_bytes=1_000,
    hardware_window_bytes=300,
)


def test_the_fit_finds_what_made_the_figures() -> None:
    cost = Cost(0.01, 20e-6, 1e-6, 30e-6)
    found = fit(LOADS, [cost.fixed + cost.of(load) for load in LOADS])
    assert astuple(found) == pytest.approx(astuple(cost), rel=1e-6)


def test_no_cost_is_negative() -> None:
    found = fit(LOADS, [0.05, 0.05, 0.04, 0.05, 0.05])
    assert min(astuple(found)) >= 0


@given(st.integers(1, 100_000), st.integers(1, 100_000), st.floats(0, 1_000))
def test_more_replicas_need_no_less(few: int, more: int, requests_a_second: float) -> None:
    less, greater = (astuple(size(number, requests_a_second, COSTS)) for number in sorted((few, more)))
    assert all(one <= other for one, other in zip(less, greater, strict=True))


@given(st.integers(1, 100_000))
def test_no_worker_is_asked_for_more_than_its_share(replicas: int) -> None:
    found = size(replicas, 20, COSTS)
    assert found.worker_cores / found.workers <= WORKER_SHARE + 1e-9
    assert found.partitions >= 2 * found.workers


def test_sizes_of_a_thousand_replicas() -> None:
    found = size(1_000, 20, replace(COSTS, clickhouse=Cost(0.02, 20e-6, 1e-6, 10e-6)))
    expected = Size(
        replicas=1_000,
        workers=1,
        partitions=8,
        worker_cores=0.01 + 0.02 + 0.02 + 0.03,
        produced_messages=2_000,
        produced_mb_s=2.2,
        broker_cores=0.2,
        broker_disk_gb=2.2e-3 * 86_400 * 7 * 3,
        clickhouse_cores=0.02 + 0.02 + 0.02 + 0.01,
        clickhouse_disk_gb=(8_640 * 700 * 7 + 1_440 * 1_300 * 30 + 24 * 2_300 * 400) / 1e6,
    )
    assert astuple(found) == pytest.approx(astuple(expected))


def test_tables_are_markdown() -> None:
    assert "| a request, us | 1 | 0 |" in render_costs(COSTS)
    head, rule, row = render_sizes([size(10_000, 20, COSTS)]).splitlines()
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| 10,000 | 2 | 0.7 | 8 | 20,000 | 22.0 | 2.0 |")
