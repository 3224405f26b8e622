"""A real Prometheus 3 finds and scrapes two endpoints: native histograms, and what it then says of both together."""

from datetime import UTC, datetime

import pytest
from tests.pipeline.serve.api.traffic import exact_quantile
from tests.pipeline.two_endpoints import insert_two_endpoints
from tests.support import judges
from tests.support.prometheus import running_prometheus, value_of_only
from tests.support.waiting import until

from endpoint_analytics.pipeline.store.tokens import create_token

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

CONFIG = """
global:
  scrape_interval: 1s
  scrape_native_histograms: true
  always_scrape_classic_histograms: true
scrape_configs:
  - job_name: endpoints
    authorization: {{credentials: "{token}"}}
    http_sd_configs:
      - url: http://127.0.0.1:{port}/v2/endpoint/acme/http-sd
        refresh_interval: 1s
        authorization: {{credentials: "{token}"}}
"""


@pytest.fixture(scope="module")
def made(client):
    return insert_two_endpoints(client)


@pytest.fixture(scope="module")
def ask(made, client, start_service, config, tmp_path_factory):
    """Return what Prometheus answers to a query, once it has scraped both."""
    token = create_token(client, "acme", "prometheus", datetime.now(UTC))
    text = CONFIG.format(token=token, port=start_service(config).port)
    directory, flag = tmp_path_factory.mktemp("prometheus"), "--enable-feature=type-and-unit-labels"
    with running_prometheus(judges.prometheus(), directory, text, flag) as prometheus:
        both = "count by (endpoint_name) (latency_seconds)"
        until(lambda: len(prometheus.ask(both)) == 2, 60, prometheus.log.read_text())
        yield prometheus.ask


@pytest.mark.parametrize("q", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("phase", ["latency", "time_to_first_byte"])
def test_quantiles_over_two_endpoints_are_those_of_the_traffic(ask, made, q, phase):
    name = "latency_us" if phase == "latency" else "ttfb_us"
    values = [getattr(request, name) for requests in made.values() for request in requests]
    found = value_of_only(ask(f"histogram_quantile({q}, sum({phase}_seconds))"))
    assert found == pytest.approx(exact_quantile(values, q), rel=0.01)


def test_counts_and_sums_are_exact(ask, made):
    for endpoint, requests in made.items():
        only = f'latency_seconds{{endpoint_name="{endpoint}"}}'
        assert value_of_only(ask(f"histogram_count(sum({only}))")) == len(requests)
        total_s = sum(request.latency_us for request in requests) / 1e6
        assert value_of_only(ask(f"histogram_sum(sum({only}))")) == pytest.approx(total_s)


def test_classic_buckets_are_beside_them(ask, made):
    values = [request.latency_us for requests in made.values() for request in requests]
    for bound, error in ((0.25, 0), (1.0, 0), (2.5, 0.011)):
        below = value_of_only(ask(f'sum(latency_seconds_bucket{{le="{bound}"}})'))
        least = sum(value <= bound * 1e6 for value in values)
        most = sum(value <= bound * 1e6 * (1 + error) for value in values)
        assert least <= below <= most


def test_every_family_has_its_own_unit(ask):
    """A family without one must not get that of the family before it."""
    units = {
        each["metric"]["__name__"]: each["metric"].get("__unit__", "") for each in ask('{job="endpoints"}')
    }
    assert units["latency_seconds"] == "seconds"
    assert units["http_requests_total"] == ""
    assert all(
        name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum").endswith(unit)
        for name, unit in units.items()
        if unit
    )
    assert len(units) > 10
