"""Addresses and own metrics: what is accepted, and errors that say how to fix them."""

from __future__ import annotations

import pytest

from endpoint_analytics.agents.core.config import ConfigurationError, read_config
from endpoint_analytics.agents.scrape.engines import Source
from endpoint_analytics.agents.scrape.settings import (
    MAX_OWN_METRICS,
    ScrapeTarget,
    parse_own,
    parse_target,
    scrape_settings,
)

NAMES = {"ENDPOINT_ANALYTICS_NAMESPACE": "acme", "ENDPOINT_ANALYTICS_ENDPOINT": "llm"}


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:8000/metrics", ScrapeTarget("127.0.0.1", 8000, "/metrics")),
        ("http://127.0.0.1:8000", ScrapeTarget("127.0.0.1", 8000, "/metrics")),
        ("localhost:8000/", ScrapeTarget("localhost", 8000, "/metrics")),
        (
            "https://engine/prometheus/metrics?x=1",
            ScrapeTarget("engine", 443, "/prometheus/metrics?x=1", True),
        ),
        ("http://[::1]:9/m", ScrapeTarget("::1", 9, "/m")),
    ],
)
def test_addresses(url, target):
    assert parse_target(url) == target


def test_an_address_is_shown_without_what_may_be_a_secret():
    assert str(parse_target("http://[::1]:9/m?token=x")) == "http://[::1]:9/m"


@pytest.mark.parametrize(
    "url",
    ["ftp://host/", "http://", "http://host:x/", "http://host:99999/", "http://u:p@host/", "http://h/a b"],
)
def test_what_is_no_address(url):
    with pytest.raises(ConfigurationError, match="scrape is "):
        parse_target(url)


def test_metrics_of_ones_own_and_what_becomes_of_several_samples():
    assert parse_own(
        [
            "engine_lora_slots=vllm:lora_slots",
            "engine_gpu_share_percent=share*100",
            "engine_x_per_second=x_total",
        ]
    ) == (
        Source("engine_lora_slots", ("vllm:lora_slots",), "sum"),
        Source("engine_gpu_share_percent", ("share",), "mean", 100.0),
        Source("engine_x_per_second", ("x_total",), "rate"),
    )


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ("lora=x", "expected engine_NAME="),
        ("engine_Lora=x", "expected engine_NAME="),
        ("engine_x", "expected engine_NAME="),
        ("engine_x=1x", "expected engine_NAME="),
        ("engine_x=x*two", "expected engine_NAME="),
        ("engine_x=x*1e999", "not a valid factor"),
        ("engine_x=x*-", "not a valid factor"),
        ("engine_x_total=x_total", "end the name with _per_second"),
    ],
)
def test_mappings_that_are_none(mapping, said):
    with pytest.raises(ConfigurationError, match=said):
        parse_own([mapping])


def test_metrics_of_ones_own_are_bounded_and_named_once():
    with pytest.raises(ConfigurationError, match="named twice"):
        parse_own(["engine_x=a", "engine_x=b"])
    with pytest.raises(ConfigurationError, match="at most 16 are allowed"):
        parse_own([f"engine_x{n}=x{n}" for n in range(MAX_OWN_METRICS + 1)])


def test_from_the_environment_and_arguments():
    assert scrape_settings(read_config(environment=NAMES)) is None
    environment = {
        **NAMES,
        "ENDPOINT_ANALYTICS_SCRAPE": "http://127.0.0.1:8000",
        "ENDPOINT_ANALYTICS_SCRAPE_METRICS": "engine_a=b, engine_c=d",
        "ENDPOINT_ANALYTICS_SCRAPE_INTERVAL_S": "2.5",
    }
    settings = scrape_settings(read_config(environment=environment))
    assert (str(settings.target), settings.interval_s) == ("http://127.0.0.1:8000/metrics", 2.5)
    assert [source.metric for source in settings.own] == ["engine_a", "engine_c"]
    config = read_config(environment=environment, scrape="http://other", scrape_metrics=[])
    assert (config.scrape, config.scrape_metrics) == ("http://other", ())
    assert (
        scrape_settings(read_config(environment={**environment, "ENDPOINT_ANALYTICS_SCRAPE": "off"})) is None
    )
    settings = scrape_settings(
        read_config(environment={**environment, "ENDPOINT_ANALYTICS_SCRAPE_TOKEN": "s3cret"})
    )
    assert (settings.target.token, "s3cret" in repr(settings)) == ("s3cret", False)
    with pytest.raises(ConfigurationError, match="scrape_token is not usable: expected printable ASCII"):
        read_config(environment={**environment, "ENDPOINT_ANALYTICS_SCRAPE_TOKEN": "a\nb"})
    with pytest.raises(ConfigurationError, match=r"scrape_interval_s is 6.0: expected seconds, 0.1 to 5"):
        read_config(environment={**environment, "ENDPOINT_ANALYTICS_SCRAPE_INTERVAL_S": "6"})


def test_a_token_may_lie_in_a_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("sk-of-the-engine\n")
    named = NAMES | {"ENDPOINT_ANALYTICS_SCRAPE_TOKEN_FILE": str(file)}
    assert read_config(environment=named).scrape_token == "sk-of-the-engine"
    with pytest.raises(ConfigurationError, match="are both set"):
        read_config(environment=named | {"ENDPOINT_ANALYTICS_SCRAPE_TOKEN": "another"})
