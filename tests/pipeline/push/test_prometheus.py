"""A real Prometheus 3 is pushed to: quantiles over two endpoints, sums and start times are those of the traffic."""

import os
import sys

import pytest
from tests.pipeline.serve.api.traffic import exact_quantile
from tests.pipeline.two_endpoints import insert_two_endpoints
from tests.support import judges
from tests.support.parts import Child
from tests.support.prometheus import running_prometheus, value_of_only
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

CONFIG = """
otlp:
  promote_resource_attributes: [service.namespace, service.name, service.instance.id]
"""


@pytest.fixture(scope="module")
def made(client):
    return insert_two_endpoints(client)


@pytest.fixture(scope="module")
def ask(made, server, tmp_path_factory):
    """Return what Prometheus answers to a query, once both endpoints were pushed."""
    directory, flag = tmp_path_factory.mktemp("prometheus"), "--web.enable-otlp-receiver"
    with running_prometheus(judges.prometheus(), directory, CONFIG, flag) as prometheus:
        url = f"http://127.0.0.1:{prometheus.port}/api/v1/otlp/v1/metrics"
        push = [sys.executable, "-m", "endpoint_analytics.infra.command", "push", "otlp", "--endpoint", url]
        push += ["--interval", "1", "--namespace", "acme"]
        pusher = Child(push, {**os.environ, **server.environment}, directory / "push.log", "push ready")
        try:
            pusher.start()
            both = "count by (job) (http_server_request_duration_seconds)"
            until(lambda: len(prometheus.ask(both)) == 2, 60, prometheus.log.read_text())
            yield prometheus.ask
            assert pusher.stop() == 0
            assert "refused" not in pusher.log.read_text()
        finally:
            pusher.kill()


@pytest.mark.parametrize("q", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("phase", ["latency", "ttfb"])
def test_quantiles_over_two_endpoints_are_those_of_the_traffic(ask, made, q, phase):
    name = {"latency": "http_server_request_duration_seconds", "ttfb": "time_to_first_byte_seconds"}[phase]
    values = [getattr(request, f"{phase}_us") for requests in made.values() for request in requests]
    found = value_of_only(ask(f"histogram_quantile({q}, sum({name}))"))
    assert found == pytest.approx(exact_quantile(values, q), rel=0.01)


def test_counts_and_sums_are_exact(ask, made):
    for endpoint, requests in made.items():
        only = f'http_server_request_duration_seconds{{job="acme/{endpoint}"}}'
        assert value_of_only(ask(f"histogram_count(sum({only}))")) == len(requests)
        total_s = sum(request.latency_us for request in requests) / 1e6
        assert value_of_only(ask(f"histogram_sum(sum({only}))")) == pytest.approx(total_s)


def test_statuses_replicas_and_names(ask):
    found = ask('http_requests_total{job="acme/llm",http_response_status_code="503"}')
    assert {(each["metric"]["instance"], each["value"][1]) for each in found} == {("r1", "1"), ("r2", "1")}
    assert value_of_only(ask('running_replicas{job="acme/llm"}')) == 2
    assert len(ask('http_server_active_requests{job="acme/llm"}')) == 2
