"""From each engine's responses to our metrics: which names count, and what is summed, averaged or a rate."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agents.scrape import expositions

from endpoint_analytics.agents.scrape.counter_rates import FORGET_AFTER_NS, CounterRates
from endpoint_analytics.agents.scrape.engines import ENGINES, Source
from endpoint_analytics.agents.scrape.exposition import parse_exposition
from endpoint_analytics.agents.scrape.readings import EngineReader, EngineReading
from endpoint_analytics.schemas.metrics import ENGINE_METRICS

S = 1_000_000_000


def read(reader: EngineReader, text: str, at_s: float = 0.0) -> EngineReading:
    return reader.read(parse_exposition(text, reader.spelled), int(at_s * S))


def short(reading: EngineReading) -> dict[str, float]:
    return {metric.removeprefix("engine_"): value for metric, value in reading.readings.items()}


GAUGES = {
    "VLLM": ("vllm", {"running_requests": 12, "waiting_requests": 3, "kv_cache_percent": 50}),
    "VLLM_0_9": ("vllm", {"running_requests": 4, "waiting_requests": 0, "kv_cache_percent": 50}),
    "VLLM_0_6": ("vllm", {"running_requests": 1, "waiting_requests": 2, "kv_cache_percent": 12.5}),
    "SGLANG": ("sglang", {"running_requests": 162, "waiting_requests": 2826, "kv_cache_percent": 28}),
    "SGLANG_DP": ("sglang", {"running_requests": 7}),
    "SGLANG_PRIORITIES": ("sglang", {"running_requests": 5, "waiting_requests": 4, "kv_cache_percent": 50}),
    "TGI": ("tgi", {"running_requests": 5, "waiting_requests": 3}),
    "TEI": ("tei", {"waiting_requests": 3}),
    "TRITON": ("triton", {"waiting_requests": 6}),
    "TRITON_TRTLLM": ("triton", {"running_requests": 7, "waiting_requests": 3, "kv_cache_percent": 62.5}),
    "LLAMACPP": ("llamacpp", {"running_requests": 2, "waiting_requests": 1}),
    "RAY_SERVE": ("ray", {"running_requests": 3, "waiting_requests": 3}),
    "RAY_VLLM": ("vllm", {"running_requests": 6, "waiting_requests": 1, "kv_cache_percent": 50}),
}


@pytest.mark.parametrize("name", GAUGES)
def test_gauges_of(name):
    engine, gauges = GAUGES[name]
    reading = read(EngineReader(), getattr(expositions, name))
    assert (reading.engine, short(reading)) == (engine, pytest.approx(gauges))


def grown(text: str) -> str:
    """Return the exposition with 30 more in every sample that is a counter of some kind."""
    return re.sub(
        r"^((?!#)\S*(?:_total|_success|_failure|_sum|_counter)(?:\{[^}]*\})?) (\S+)$",
        lambda line: f"{line[1]} {float(line[2]) + 30}",
        text,
        flags=re.MULTILINE,
    )


RATES = {
    "VLLM": {
        "prompt_tokens": 2,
        "cached_prompt_tokens": 1,
        "generated_tokens": 1,
        "finished_requests": 2,
        "preemptions": 1,
    },
    "VLLM_0_9": {"cached_prompt_tokens": 1},
    "SGLANG": {
        "prompt_tokens": 1,
        "cached_prompt_tokens": 2,
        "generated_tokens": 1,
        "finished_requests": 1,
        "preemptions": 1,
    },
    "TGI": {"prompt_tokens": 1, "generated_tokens": 1, "finished_requests": 1, "failed_requests": 1},
    "TEI": {"prompt_tokens": 1, "finished_requests": 2, "failed_requests": 1},
    "TRITON": {"finished_requests": 2, "failed_requests": 2},
    "LLAMACPP": {"prompt_tokens": 1, "generated_tokens": 1},
    "RAY_SERVE": {"finished_requests": 1, "failed_requests": 1},
    "RAY_VLLM": {"generated_tokens": 1, "finished_requests": 1, "failed_requests": 1},
}


@pytest.mark.parametrize("name", RATES)
def test_rates_of(name):
    text = getattr(expositions, name)
    reader = EngineReader()
    first = read(reader, text, 100)
    second = read(reader, grown(text), 102)
    assert not [metric for metric in first.readings if metric.endswith("_per_second")]
    rates = {
        metric.removesuffix("_per_second"): value
        for metric, value in short(second).items()
        if metric.endswith("_per_second")
    }
    assert rates == {metric: 15.0 * series for metric, series in RATES[name].items()}  # 30 in 2 s, each
    assert (first.known, second.known) == (len(second.readings),) * 2


def test_every_metric_of_the_table_is_one_of_the_schemas():
    used = {source.metric for engine in ENGINES for source in engine.sources}
    assert used == {metric.name for metric in ENGINE_METRICS}


def test_metrics_of_ones_own_come_first_and_make_any_server_an_engine():
    own = (
        Source("engine_waiting_requests", ("my_queue",)),
        Source("engine_gpu_share_percent", ("my_share",), "mean", 100.0),
        Source("engine_images_per_second", ("my_images_total",), "rate"),
    )
    reader = EngineReader(own)
    text = 'my_queue 4\nmy_share{gpu="0"} 0.5\nmy_share{gpu="1"} 0.7\nmy_images_total 7\nvllm:num_requests_waiting 9\n'
    assert read(reader, text, 1).readings == {
        "engine_waiting_requests": 4,
        "engine_gpu_share_percent": pytest.approx(60),
    }
    later = read(reader, text.replace("_total 7", "_total 10"), 2)
    assert (later.engine, later.readings["engine_images_per_second"]) == ("", 3)


def test_an_answer_without_any_known_metric_is_known_as_such():
    assert read(EngineReader(), "# TYPE up gauge\nup 1\n<html>\n") == EngineReading()


# Counters


def counters(**values: float):
    return {(name, ()): value for name, value in values.items()}


def rates(*answers) -> list[float | None]:
    growth = CounterRates()
    return [growth.per_second(counters(**values), int(at_s * S)) for at_s, values in answers]


def test_growth_is_per_second_and_needs_two_answers():
    assert rates((1, {"a": 10}), (2, {"a": 15}), (4, {"a": 15}), (4.5, {"a": 16})) == [None, 5, 0, 2]


def test_a_counter_that_went_back_began_at_0():
    assert rates((1, {"a": 1000}), (2, {"a": 30}), (3, {"a": 31})) == [None, 30, 1]


def test_of_several_counters_each_may_restart():
    assert rates((1, {"a": 1000, "b": 5}), (2, {"a": 30, "b": 7})) == [None, 32]


def test_a_counter_that_was_not_there_began_at_0_and_one_that_was_missing_does_not():
    assert rates((1, {}), (2, {}), (3, {"a": 4}), (4, {}), (5, {"a": 6, "b": 1})) == [None, None, 4, 0, 3]


def test_after_a_long_time_without_an_answer_it_restarts():
    away_s = FORGET_AFTER_NS / S
    assert rates((1, {"a": 1}), (1 + away_s, {"a": 11}), (2 + 2 * away_s, {"a": 99})) == [None, 1, None]


def test_a_clock_that_stands_gives_no_rate():
    assert rates((1, {"a": 1}), (1, {"a": 2})) == [None, None]


@given(st.lists(st.integers(0, 50), min_size=2, max_size=30), st.data())
def test_what_grew_between_restarts_is_the_sum_of_the_rates(steps, data):
    """For a counter that is occasionally reset to 0, right after a response."""
    growth, value = CounterRates(), 0
    growth.per_second(counters(a=value), 0)
    total = 0.0
    for second, step in enumerate(steps, 1):
        value += step
        total += growth.per_second(counters(a=value), second * S)
        if data.draw(st.booleans()):
            value = 0
    restarts_hidden = sum(steps) - total  # a restart that ends higher than it began cannot be seen
    assert restarts_hidden >= 0
    if not any(steps):
        assert total == 0
