"""infra/deploy/autoscaling: its files are valid and refer to existing names; the proxy admits only the aggregator."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import msgspec
import pytest
import yaml
from tests.infra.deploy.metrics_proxy import metrics_proxy, query_service
from tests.pipeline.serve.conftest import ServeProcess

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.serve.api.discovery import target_groups
from endpoint_analytics.pipeline.serve.api.external_metrics import METRICS, parse_selector
from endpoint_analytics.pipeline.serve.api.models import encode
from endpoint_analytics.pipeline.serve.api.openapi import openapi_document
from endpoint_analytics.pipeline.serve.api.signals import autoscaling_shape
from endpoint_analytics.pipeline.serve.scrape.signal_families import signal_families
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.scope import Key
from endpoint_analytics.pipeline.store.signals import EndpointSignals
from endpoint_analytics.pipeline.store.tokens import create_token

Json = dict[str, Any]
INFRA = Path(__file__).parents[3] / "infra" / "deploy"
DIRECTORY = INFRA / "autoscaling"
FILES = sorted(DIRECTORY.rglob("*.yaml"))
AT = datetime(2026, 1, 2, tzinfo=UTC)
SIGNALS = EndpointSignals(
    "acme", "llm", AT, AT, None, 2, 0, 0, **dict.fromkeys(METRICS, 1.5), replicas=(), places=frozenset(),
    unknown_places=frozenset(),
)  # fmt: skip
FAMILIES = {family.name for family in signal_families(SIGNALS)}
ROUTES = openapi_document("1")["paths"]


def read(name: str) -> list[Json]:
    return list(yaml.safe_load_all((DIRECTORY / name).read_text()))


def one(name: str, kind: str) -> Json:
    (found,) = [each for each in read(name) if each["kind"] == kind]
    return found


def is_route(path: str) -> bool:
    return any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), path) for route in ROUTES) or path.endswith(
        "/open-metrics"
    )


def test_the_families_are_the_metrics():
    assert {name.removeprefix("autoscaling_") for name in FAMILIES} == set(METRICS)
    assert signal_families(replace(SIGNALS, **dict.fromkeys(METRICS))) == ()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DIRECTORY)))
def test_kubernetes_takes_every_object_of_its_own(path):
    for found in yaml.safe_load_all(path.read_text()):
        group = found.get("apiVersion", "").partition("/")[0]
        if group and not group.endswith(("keda.sh", "kustomize.config.k8s.io")):
            kubernetes_validate.validate(found, "1.34", strict=True)


def test_keda_asks_a_route_of_ours_for_a_number_in_its_answer():
    (trigger,) = one("keda/scaledobject.yaml", "ScaledObject")["spec"]["triggers"]
    asked = trigger["metadata"]
    url = urlsplit(asked["url"])
    assert is_route(url.path)
    assert f"{url.hostname}:{url.port or 80}" == query_service()
    answer = json.loads(encode(autoscaling_shape(SIGNALS)))
    assert answer[asked["valueLocation"]] == 1.5
    assert float(asked["targetValue"]) == 1.5
    # Of the whole endpoint: the autoscaler divides by its own count.
    assert (trigger["metricType"], asked["valueLocation"].endswith("per_replica")) == ("AverageValue", False)
    assert all(isinstance(value, str) for value in asked.values())


def test_keda_has_the_token():
    scaled = one("keda/scaledobject.yaml", "ScaledObject")
    authentication = one("keda/scaledobject.yaml", "TriggerAuthentication")
    secret = one("keda/scaledobject.yaml", "Secret")
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert trigger["metadata"]["authMode"] == "bearer"
    (target,) = authentication["spec"]["secretTargetRef"]
    assert (target["parameter"], target["name"]) == ("token", secret["metadata"]["name"])
    assert target["key"] in secret["stringData"]
    assert len({each["metadata"]["namespace"] for each in (scaled, authentication, secret)}) == 1


def test_keda_through_prometheus_asks_a_family_of_ours_and_bears_no_null():
    (trigger,) = one("keda/prometheus.yaml", "ScaledObject")["spec"]["triggers"]
    name, labels = re.fullmatch(r"(\w+)\{(.*)\}", trigger["metadata"]["query"]).groups()
    assert name in FAMILIES
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    (job,) = read("prometheus/prometheus.yaml")[0]["scrape_configs"]
    (discovery,) = job["http_sd_configs"]
    url = urlsplit(discovery["url"])
    assert url.hostname == query_service().rpartition(":")[0]
    assert is_route(url.path)
    (group,) = target_groups([Key("acme", "llm")], url.netloc)
    found = msgspec.to_builtins(group.labels)
    assert dict(re.findall(r'(\w+)="(\w+)"', labels)).items() <= found.items()
    added = {each["target_label"]: found[each["source_labels"][0]] for each in job["relabel_configs"]}
    asked = one("hpa.yaml", "HorizontalPodAutoscaler")["spec"]["metrics"][0]["external"]["metric"]
    assert added == asked["selector"]["matchLabels"]


def test_the_adapter_makes_our_families_the_metrics():
    (rule,) = read("prometheus/adapter.yaml")[0]["externalRules"]
    (series,) = re.findall(r'__name__=~"(.*?)"', rule["seriesQuery"])
    assert all(re.match(series, name) for name in FAMILIES)
    renamed = {
        re.sub(rule["name"]["matches"], rule["name"]["as"].replace("$", "\\"), name) for name in FAMILIES
    }
    assert renamed == set(METRICS)


def test_the_autoscaler_asks_for_metrics_of_ours():
    for metric in one("hpa.yaml", "HorizontalPodAutoscaler")["spec"]["metrics"]:
        asked = metric["external"]["metric"]
        assert asked["name"] in METRICS
        selector = ",".join(f"{name}={value}" for name, value in asked["selector"]["matchLabels"].items())
        assert parse_selector([("labelSelector", selector)]) == asked["selector"]["matchLabels"]
        # Requests of the whole endpoint are divided, means over replicas are not.
        is_mean = asked["name"].endswith(("_percent", "_per_replica"))
        assert metric["external"]["target"]["type"] == ("Value" if is_mean else "AverageValue")


def test_the_aggregator_is_sent_to_the_proxy():
    service = one("external-metrics/proxy.yaml", "Service")
    api = one("external-metrics/apiservice.yaml", "APIService")
    assert api["spec"]["service"]["name"] == service["metadata"]["name"]
    assert api["spec"]["service"]["namespace"] == service["metadata"]["namespace"]
    assert f"/apis/{api['spec']['group']}/{api['spec']['version']}" in ROUTES
    assert f"proxy_pass http://{query_service()};" in (DIRECTORY / "external-metrics/nginx.conf").read_text()


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl here")
def test_kustomize_builds_it():
    built = subprocess.run(
        ["kubectl", "kustomize", DIRECTORY / "external-metrics"], capture_output=True, text=True, check=True
    )
    found = {each["kind"]: each for each in yaml.safe_load_all(built.stdout)}
    volumes = found["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]


def certificate(directory: Path, name: str, common_name: str, signer: str = "") -> None:
    """Make name.key and name.crt, signed by `signer` or by itself."""
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={common_name}",
             "-keyout", directory / f"{name}.key", "-out", directory / f"{name}.crt",
             "-addext", "subjectAltName=IP:127.0.0.1"]  # fmt: skip
    if signer:
        words += ["-CA", directory / f"{signer}.crt", "-CAkey", directory / f"{signer}.key"]
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def proxy(tmp_path) -> Iterator[tuple[int, Path]]:
    """A real nginx with our configuration and a real query service; yields its port and the certificates' directory."""
    certificate(tmp_path, "serving", "external-metrics")
    certificate(tmp_path, "ca", "front-proxy-ca")
    certificate(tmp_path, "aggregator", "front-proxy-client", "ca")
    certificate(tmp_path, "other", "not-front-proxy-client", "ca")
    certificate(tmp_path, "stranger", "front-proxy-client")
    with ClickHouseProcess(tmp_path / "clickhouse") as server:
        config = server.config()
        migrate(config)
        client = connect(config)
        token = create_token(client, "*", "aggregator", datetime.now(UTC))
        client.close()
        service = ServeProcess(config, tmp_path / "serve.log")
        try:
            with metrics_proxy(tmp_path, token, service.port) as port:
                yield port, tmp_path
        finally:
            service.stop()


def ask(port: int, directory: Path, path: str, certificate: str = "") -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=str(directory / "serving.crt"))
    if certificate:
        context.load_cert_chain(directory / f"{certificate}.crt", directory / f"{certificate}.key")
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.skipif(
    not shutil.which("nginx") or not shutil.which("openssl"), reason="nginx or openssl is not installed"
)
def test_the_proxy_admits_only_the_aggregator(proxy):
    port, directory = proxy
    api = "/apis/external.metrics.k8s.io/v1beta1"
    status, body = ask(port, directory, api, "aggregator")
    assert (status, json.loads(body)["kind"]) == (200, "APIResourceList")
    value = f"{api}/namespaces/models/pending_requests?labelSelector=endpoint%3Dllm%2Cnamespace%3Dacme"
    status, body = ask(port, directory, value, "aggregator")
    assert (status, json.loads(body)["reason"]) == (404, "NotFound")
    assert ask(port, directory, api)[0] == 400
    assert ask(port, directory, api, "stranger")[0] == 400
    assert ask(port, directory, api, "other")[0] == 403
    for path in ("/v2/namespaces", "/metrics", "/"):
        assert ask(port, directory, path, "aggregator")[0] == 404
