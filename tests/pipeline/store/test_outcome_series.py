"""Series of outcomes on a real ClickHouse: the same sums from any level, by name, filtered, over the whole range."""

import asyncio

import pytest
from tests.pipeline.core.outcome_batches import expected_rows
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.store.test_outcomes import NOW_US, batches, store  # noqa: F401 - a fixture

from endpoint_analytics.pipeline.store.outcome_series import WHOLE, OutcomeFilter, read_outcomes
from endpoint_analytics.pipeline.store.rollup import read_rollup_progress, roll_up
from endpoint_analytics.pipeline.store.rollup_levels import HOUR, TEN_SECONDS
from endpoint_analytics.pipeline.store.series import SeriesQuery
from endpoint_analytics.pipeline.store.series_plan import time_ranges

FROM_S, TO_S = NOW_US // 1_000_000 - 3600, NOW_US // 1_000_000 + 2 * 3600
ENDS = ("complete", "cut", "error", "aborted")


@pytest.fixture
def rolled(client, batches):  # noqa: F811
    client.command("TRUNCATE TABLE outcome_windows")
    store(client, batches)
    asyncio.run(roll_up(ClientExecutor(client)))
    return expected_rows(batches)


def read(client, coarsest=HOUR, split="", replica="", **of):
    executor = ClientExecutor(client)
    progress = asyncio.run(read_rollup_progress(executor))
    ranges = time_ranges(FROM_S, TO_S, coarsest, progress)
    query = SeriesQuery("acme", "llm", replica, FROM_S, 3600, ranges)
    return asyncio.run(read_outcomes(executor, query, OutcomeFilter(**of), split))


def total(rows, name, chosen=lambda of: True):
    return sum(row[name] for (_, _, of), row in rows.items() if chosen(of))


@pytest.mark.parametrize("coarsest", [HOUR, TEN_SECONDS])
@pytest.mark.parametrize("replica", ["", "r1"])
def test_the_whole_is_the_sum_whatever_it_is_read_from(client, rolled, coarsest, replica):
    found = read(client, coarsest, replica=replica)
    assert set(found) == {""}
    whole = found[""][WHOLE]
    for name in (*ENDS, "input_tokens_sum", "itl_count", "latency_sum_us", "estimated"):
        assert whole.numbers[name] == total(rolled, name)
        assert whole.numbers[name] == sum(step.numbers[name] for at, step in found[""].items() if at != WHOLE)
    assert whole.requests == total(rolled, "latency_count")
    assert whole.quantiles.keys() >= {"latency", "itl", "ttft"}


def test_it_is_divided_by_a_dimension_and_filtered_by_others(client, rolled):
    by_model = read(client, split="model")
    assert {name: steps[WHOLE].requests for name, steps in by_model.items()} == {
        model: total(rolled, "latency_count", lambda of, model=model: of.model == model)
        for model in ("", "a", "b")
    }
    only = read(client, split="streamed", model="a", input_upto=128)
    assert {name: steps[WHOLE].requests for name, steps in only.items()} == {
        str(int(streamed)): count
        for streamed in (False, True)
        if (
            count := total(
                rolled,
                "latency_count",
                lambda of, streamed=streamed: (of.model, of.input_upto, of.streamed) == ("a", 128, streamed),
            )
        )
    }


def test_names_beyond_the_most_frequent_are_other(client, rolled, monkeypatch):
    from endpoint_analytics.pipeline.store import outcome_series

    outcome_series.outcomes_sql.cache_clear()
    monkeypatch.setattr(outcome_series, "MOST_NAMES", 1)
    found = read(client, split="model")
    outcome_series.outcomes_sql.cache_clear()
    counts = {
        model: total(rolled, "latency_count", lambda of, model=model: of.model == model)
        for model in ("", "a", "b")
    }
    most = max(sorted(counts), key=counts.__getitem__)
    assert {name: steps[WHOLE].requests for name, steps in found.items()} == {
        most: counts[most],
        "other": sum(counts.values()) - counts[most],
    }


def test_a_range_without_outcomes_is_empty(client, rolled):
    assert read(client, model="nobody") == {}
