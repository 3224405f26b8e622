"""The scrapes of tests/cases give their right values (its README is the table), and so do a real client library's."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from endpoint_analytics.agents.core.config import ConfigurationError
from endpoint_analytics.agents.scrape.exposition import parse_exposition
from endpoint_analytics.agents.scrape.readings import EngineReader, EngineReading
from endpoint_analytics.agents.scrape.selector import parse_selector
from endpoint_analytics.agents.scrape.settings import parse_own

CASES = Path(__file__).parents[2] / "cases"
S = 1_000_000_000


def two_scrapes(first: str, second: str, own: tuple[str, ...] = (), select: str = "") -> EngineReading:
    """Return the second's reading, 10 s after the first."""
    reader = EngineReader(parse_own(own), select=parse_selector(select))
    reader.read(parse_exposition(first, reader.spelled), 0)
    return reader.read(parse_exposition(second, reader.spelled), 10 * S)


def case(name: str, **how) -> EngineReading:
    first, second = ((CASES / f"scrape-{name}-{number}.txt").read_text() for number in (1, 2))
    return two_scrapes(first, second, **how)


def test_vllm_with_several_engines_and_reasons():
    """Requests that stopped or reached their length are finished; errors are failed, aborts are neither."""
    reading = case("vllm-dp-finished-reasons")
    assert reading.engine == "vllm"
    assert reading.readings == {
        "engine_running_requests": 7,
        "engine_waiting_requests": 5,
        "engine_kv_cache_percent": pytest.approx(60),
        "engine_finished_requests_per_second": 0.5,
        "engine_failed_requests_per_second": 0.4,
    }


def test_vllm_from_its_first_error_on():
    """A counter that the engine creates on first use started at 0."""
    first = 'vllm:request_success_total{finished_reason="stop"} 5\n'
    second = first + 'vllm:request_success_total{finished_reason="error"} 3\n'
    assert "engine_failed_requests_per_second" not in two_scrapes(first, first).readings
    assert two_scrapes(first, second).readings["engine_failed_requests_per_second"] == 0.3


def test_tritons_ensemble_once():
    reading = case("triton-ensemble", select='model="ens"')
    assert reading.readings == {
        "engine_waiting_requests": 3,
        "engine_finished_requests_per_second": 1,
        "engine_failed_requests_per_second": 0.2,
    }
    assert reading.hint == ""


def test_tritons_ensemble_as_a_metric_of_ones_own():
    own = ('engine_finished_requests_per_second=nv_inference_request_success{model="ens",version=~"1|2"}',)
    assert case("triton-ensemble", own=own).readings["engine_finished_requests_per_second"] == 1


def test_several_models_say_that_they_are_added_up():
    """Triton's metrics do not distinguish an ensemble from unrelated models."""
    reading = case("triton-ensemble")
    assert reading.readings["engine_finished_requests_per_second"] == 3
    assert "3 models are summed (ens, net, pre)" in reading.hint
    assert "--select 'model=\"NAME\"'" in reading.hint


def test_rays_counters_without_total():
    reading = case("ray252-no-total")
    assert reading.engine == "vllm"
    assert reading.readings == {
        "engine_running_requests": 2,
        "engine_generated_tokens_per_second": 50,
        "engine_finished_requests_per_second": 1,
        "engine_failed_requests_per_second": 0.2,
    }


def test_ray_without_vllm_and_one_deployment_of_two():
    first, second = (
        "\n".join(line for line in (CASES / f"scrape-ray252-no-total-{number}.txt").read_text().splitlines()
                  if "vllm" not in line) + "\n"
        for number in (1, 2)
    )  # fmt: skip
    both, one = (two_scrapes(first, second, select=select) for select in ("", 'deployment="OpenAiIngress"'))
    assert both.readings["engine_finished_requests_per_second"] == 2
    assert "2 deployments" in both.hint
    assert one.readings["engine_finished_requests_per_second"] == 1
    assert one.readings["engine_running_requests"] == 3


def test_a_counter_that_is_spelled_both_ways_counts_once():
    first = "ray_serve_deployment_request_counter 10\nray_serve_deployment_request_counter_total 10\n"
    second = first.replace(" 10", " 20")
    assert two_scrapes(first, second).readings == {"engine_finished_requests_per_second": 1}


@pytest.mark.parametrize("render", [generate_latest, openmetrics.generate_latest])
def test_what_a_real_client_library_renders(render):
    """In both formats: names, label values that must be escaped, counters with their times of creation."""
    registry = CollectorRegistry()
    finished = Counter(
        "vllm:request_success", "help", ["model_name", "engine", "finished_reason"], registry=registry
    )
    running = Gauge("vllm:num_requests_running", "help", ["model_name", "engine"], registry=registry)
    name = 'a "model"\\with\nodd {name}, yes'
    for engine in ("0", "1"):
        running.labels(name, engine).set(3)
        for reason in ("stop", "length", "abort", "error", "repetition"):
            finished.labels(name, engine, reason)
    first = render(registry).decode()
    for reason, number in (("stop", 4), ("length", 5), ("abort", 100), ("error", 2), ("repetition", 1)):
        finished.labels(name, "1", reason).inc(number)
    reading = two_scrapes(first, render(registry).decode())
    assert reading.readings == {
        "engine_running_requests": 6,
        "engine_finished_requests_per_second": 1,
        "engine_failed_requests_per_second": 0.2,
    }


@pytest.mark.parametrize(
    ("selector", "labels", "is_meant"),
    [
        ('model="a"', {"model": "a"}, True),
        ('{model="a"}', {"model": "b"}, False),
        ('model!="a", kind=~"x|y"', {"model": "b", "kind": "y"}, True),
        ('kind=~"x"', {"kind": "xx"}, False),
        ('kind!~"x|"', {}, False),
        ('name="a\\"b\\\\c"', {"name": 'a"b\\c'}, True),
        ('name="a.c"', {"name": "abc"}, False),
        ("", {"any": "thing"}, True),
    ],
)
def test_selectors_are_promqls(selector, labels, is_meant):
    assert all(matcher.fits(labels) for matcher in parse_selector(selector)) is is_meant


@pytest.mark.parametrize(
    "selector", ["model", "model=a", 'model=="a"', 'model=~"("', 'a="b" c="d"', 'x="' + "y"]
)
def test_what_is_no_selector(selector):
    with pytest.raises(ConfigurationError, match="selector is"):
        parse_selector(selector)


def test_metrics_of_ones_own_with_commas_in_their_selectors():
    """As in ENDPOINT_ANALYTICS_SCRAPE_METRICS, split at every comma."""
    text = 'engine_a=x{m="1",n=~"2|3"}*100,engine_b_per_second=y_total,engine_c=z{o="4"}'
    found = parse_own(text.split(","))
    assert [(source.metric, source.names, source.factor, len(source.where)) for source in found] == [
        ("engine_a", ("x",), 100.0, 2),
        ("engine_b_per_second", ("y_total",), 1.0, 0),
        ("engine_c", ("z",), 1.0, 1),
    ]
