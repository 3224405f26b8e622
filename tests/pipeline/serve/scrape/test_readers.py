"""Programs that people already have read the namespace URL with their defaults: each endpoint, counts and quantiles.

VictoriaMetrics' agent and the OpenTelemetry Collector pass on what they read to a Prometheus 3, which is asked.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.pipeline.serve.api.traffic import exact_quantile
from tests.pipeline.two_endpoints import BOOTS, STATUSES, insert_two_endpoints
from tests.support import judges
from tests.support.prometheus import Ask, running, running_prometheus
from tests.support.waiting import until

from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.pipeline.store.tokens import create_token

pytestmark = [pytest.mark.slow, pytest.mark.judge, pytest.mark.timeout(1800)]

PATH = "/v2/endpoint/acme/open-metrics"
SCRAPE = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: endpoints
    metrics_path: {path}
    authorization: {{credentials: "{token}"}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
NATIVE = SCRAPE.replace(
    "1s}}", "1s, scrape_native_histograms: true, always_scrape_classic_histograms: true}}"
)
COLLECTOR = """
receivers:
  prometheus:
    config:
      scrape_configs:
        - job_name: endpoints
          scrape_interval: 1s
          metrics_path: {path}
          authorization: {{credentials: "{token}"}}
          static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
exporters:
  otlphttp: {{endpoint: "http://127.0.0.1:{prometheus}/api/v1/otlp"}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    metrics: {{receivers: [prometheus], exporters: [otlphttp]}}
"""


@pytest.fixture(scope="module")
def made(client):
    return insert_two_endpoints(client)


@pytest.fixture
def settings(made, client, start_service, config) -> dict[str, object]:
    token = create_token(client, "acme", "judge", datetime.now(UTC))
    return {"path": PATH, "token": token, "port": start_service(config).port}


def check_endpoints(ask: Ask, made) -> None:
    """Each endpoint is told apart from the other, and counted."""
    until(lambda: len(ask('http_requests_total{status_code="503"}')) == 4, 60, "all replicas in it")
    counts = {
        (each["metric"]["endpoint_namespace"], each["metric"]["endpoint_name"]): float(each["value"][1])
        for each in ask("sum by (endpoint_namespace, endpoint_name) (http_requests_total)")
    }
    assert counts == {
        ("acme", endpoint): len(boots) * sum(STATUSES.values()) for endpoint, boots in BOOTS.items()
    }
    buckets = ask('sum by (endpoint_name) (latency_seconds_bucket{le="+Inf"})')
    found = {each["metric"]["endpoint_name"]: float(each["value"][1]) for each in buckets}
    assert found == {endpoint: len(requests) for endpoint, requests in made.items()}


def check_quantiles(ask: Ask, made, histogram: str) -> None:
    """Quantiles of both endpoints together are those of the traffic, within 1 %."""
    values = [request.latency_us for requests in made.values() for request in requests]
    for q in (0.5, 0.9, 0.95, 0.99):
        (found,) = ask(f"histogram_quantile({q}, sum({histogram}))")
        assert float(found["value"][1]) == pytest.approx(exact_quantile(values, q), rel=0.01)


def test_prometheus_3(settings, made, tmp_path) -> None:
    with running_prometheus(judges.prometheus(), tmp_path, NATIVE.format(**settings)) as prometheus:
        check_endpoints(prometheus.ask, made)
        check_quantiles(prometheus.ask, made, "latency_seconds")


def test_prometheus_of_debian(settings, made, tmp_path) -> None:
    program = shutil.which("prometheus") or judges.missing("prometheus is not installed (Debian's package)")
    with running_prometheus(Path(program), tmp_path, SCRAPE.format(**settings)) as prometheus:
        check_endpoints(prometheus.ask, made)


def test_victoria_metrics_agent(settings, made, tmp_path) -> None:
    config, flag = tmp_path / "scrape.yml", "--web.enable-remote-write-receiver"
    config.write_text(SCRAPE.format(**settings))
    with running_prometheus(judges.prometheus(), tmp_path / "p", "", flag) as prometheus:
        words = [
            str(judges.vmagent()),
            f"-promscrape.config={config}",
            f"-remoteWrite.url=http://127.0.0.1:{prometheus.port}/api/v1/write",
            f"-remoteWrite.tmpDataPath={tmp_path / 'waiting'}",
            f"-httpListenAddr=127.0.0.1:{free_port('127.0.0.1')}",
        ]
        with running(words, tmp_path / "log"):
            check_endpoints(prometheus.ask, made)


def test_opentelemetry_collector(settings, made, tmp_path) -> None:
    config, flag = tmp_path / "collector.yaml", "--web.enable-otlp-receiver"
    with running_prometheus(judges.prometheus(), tmp_path / "p", "", flag) as prometheus:
        config.write_text(COLLECTOR.format(**settings, prometheus=prometheus.port))
        with running([str(judges.otel_collector()), f"--config=file:{config}"], tmp_path / "log"):
            check_endpoints(prometheus.ask, made)
            states = prometheus.ask("running_replicas")
            assert {each["metric"]["endpoint_name"] for each in states} == set(BOOTS)
