"""The real HorizontalPodAutoscaler controller, with its defaults, reads our external metrics through kube-apiserver's
aggregator and the proxy of infra/deploy/autoscaling: what is known scales, what is unknown keeps the replicas, and
nobody waits.
"""

from __future__ import annotations

import base64
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from tests.agents.kubernetes.real.cluster import Cluster, Json, sign
from tests.infra.deploy.metrics_proxy import metrics_proxy
from tests.pipeline.serve.conftest import ServeProcess
from tests.pipeline.store.rows import all_known, boot, insert, window
from tests.support.waiting import eventually

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.tokens import create_token

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[4]
AUTOSCALERS = "/apis/autoscaling/v2/namespaces/models/horizontalpodautoscalers"
WORKERS = 5
"""Of the controller: so many autoscalers are looked after at once in the whole cluster."""
WITHIN_S = 240.0
"""The controller comes by every 15 s; a busy machine takes its time."""


@dataclass
class Metrics:
    """The cluster, and what stands behind its external metrics."""

    cluster: Cluster
    clickhouse: ClickHouseProcess
    service: ServeProcess
    client: Client
    access_log: Path

    def asked(self, endpoint: str) -> list[str]:
        """Return the metrics of the endpoint that were asked for, in order."""
        pattern = rf"/([a-z_]+)\?labelSelector=endpoint%3D{endpoint}%2C"
        return re.findall(pattern, self.access_log.read_text())

    def autoscaler(self, name: str) -> Json:
        return self.cluster.done("GET", f"{AUTOSCALERS}/{name}")

    def condition(self, name: str) -> tuple[str, str]:
        """Return the reason and message of the controller's scaling condition."""
        conditions = self.autoscaler(name).get("status", {}).get("conditions", [])
        return next(
            ((each["reason"], each["message"]) for each in conditions if each["type"] == "ScalingActive"),
            ("", ""),
        )

    def replicas(self, name: str) -> int:
        return self.cluster.done("GET", f"/apis/apps/v1/namespaces/models/deployments/{name}")["spec"][
            "replicas"
        ]

    def scaled(self, name: str, endpoint: str, replicas: int = 4) -> None:
        """Make a deployment, and the autoscaler of infra/deploy/autoscaling for an endpoint."""
        self.cluster.deployment(name, replicas)
        text = (ROOT / "infra/deploy/autoscaling/hpa.yaml").read_text()
        found = yaml.safe_load(
            text.replace("endpoint: llm", f"endpoint: {endpoint}").replace("name: llm", f"name: {name}")
        )
        self.cluster.done("POST", AUTOSCALERS, found)

    def report(self, endpoint: str, pending: int) -> None:
        """Two replicas hold `pending` requests each, from now on."""
        now, ahead = datetime.now(UTC), -3600
        rows = [(replica, age) for replica in ("r1", "r2") for age in (ahead, ahead + 10, ahead + 20)]
        insert(
            self.client,
            "boot_states",
            [boot(now, endpoint=endpoint, replica=each, age_s=ahead) for each in ("r1", "r2")],
        )
        insert(self.client, "request_windows", [
            window(now, endpoint=endpoint, replica=replica, age_s=age, covered_to_us=10_000_000,
                   pending_request_us=pending * 10_000_000)
            for replica, age in rows
        ])  # fmt: skip


@pytest.fixture(scope="module")
def metrics(models: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metrics]:
    directory = tmp_path_factory.mktemp("metrics")
    models.namespace("endpoint-analytics")
    sign(directory, "serving", "/CN=external-metrics", names="DNS:external-metrics.endpoint-analytics.svc")
    (directory / "ca.crt").write_bytes((models.directory / "front-ca.crt").read_bytes())
    with ClickHouseProcess(directory / "clickhouse") as clickhouse:
        config = clickhouse.config()
        migrate(config)
        client = connect(config)
        all_known(client)
        token = create_token(client, "*", "aggregator", datetime.now(UTC))
        service = ServeProcess(config, directory / "serve.log")
        try:
            with metrics_proxy(directory, token, service.port) as port:
                install(models, directory, port)
                yield Metrics(models, clickhouse, service, client, directory / "access.log")
        finally:
            models.kubectl("delete", "apiservice", "v1beta1.external.metrics.k8s.io", "--ignore-not-found")
            client.close()
            service.stop()


def install(cluster: Cluster, directory: Path, port: int) -> None:
    """Apply our manifests; the Service points outside the cluster, which has no nodes."""
    built = cluster.kubectl("kustomize", ROOT / "infra/deploy/autoscaling/external-metrics")
    found = list(yaml.safe_load_all(built))
    for each in found:
        if each["kind"] == "Service":
            each["spec"] = {"type": "ExternalName", "externalName": "localhost"}
        if each["kind"] == "APIService":
            each["spec"]["caBundle"] = base64.b64encode((directory / "serving.crt").read_bytes()).decode()
            each["spec"]["service"]["port"] = port
    cluster.kubectl("apply", "-f", "-", text=yaml.safe_dump_all(found))
    eventually(lambda: available(cluster), lambda found: found[0] == "True", 60, "the external metrics API")


def available(cluster: Cluster) -> tuple[str, str]:
    found = cluster.done("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io")
    conditions = found.get("status", {}).get("conditions", [])
    return next(
        ((each["status"], each["message"]) for each in conditions if each["type"] == "Available"), ("", "")
    )


def test_what_is_known_scales_and_what_is_unknown_makes_nobody_wait(metrics: Metrics):
    silent = [f"silent-{number}" for number in range(WORKERS + 2)]
    now = datetime.now(UTC)
    insert(metrics.client, "boot_states", [boot(now, endpoint=name, age_s=30) for name in silent])
    for name in silent:
        metrics.scaled(name, name)
    eventually(
        lambda: [metrics.condition(name) for name in silent],
        lambda found: all(reason == "FailedGetExternalMetric" for reason, _ in found),
        WITHIN_S,
        "all autoscalers know that nothing is known",
    )
    for (
        name
    ) in silent:  # each is asked for once a round: client-go would ask ten times more, and wait each time
        asked = metrics.asked(name)
        assert asked == [("pending_requests", "gpu_percent")[number % 2] for number in range(len(asked))]
    assert "last heard" in metrics.condition("silent-0")[1]
    metrics.report("busy", 6)
    metrics.scaled("busy", "busy")
    # 12 requests wait, and a replica ought to have 1.5. That gpu_percent is unknown keeps it from scaling in alone.
    eventually(
        lambda: metrics.replicas("busy"), lambda replicas: replicas == 8, WITHIN_S, "the busy one is scaled"
    )
    assert metrics.condition("busy")[0] == "ValidMetricFound"
    metrics.scaled("idle", "idle")
    metrics.report("idle", 0)
    eventually(
        lambda: metrics.condition("idle"),
        lambda found: found[0] == "FailedGetExternalMetric" and "gpu_percent" in found[1],
        WITHIN_S,
        "one figure is 0, the other one unknown",
    )
    assert [metrics.replicas(name) for name in ("silent-0", "silent-6", "idle")] == [4, 4, 4]


def test_a_database_that_hangs_takes_no_replica_and_keeps_no_namespace(metrics: Metrics):
    """Discovery stays available: otherwise Kubernetes could not find what is left in a namespace, and would keep it."""
    metrics.report("steady", 3)
    metrics.scaled("steady", "steady")
    eventually(
        lambda: metrics.condition("steady")[0], lambda found: found == "ValidMetricFound", WITHIN_S, "known"
    )
    before = metrics.replicas("steady")
    os.kill(metrics.clickhouse.pid, signal.SIGSTOP)
    try:
        eventually(
            lambda: metrics.condition("steady")[0],
            lambda found: found == "FailedGetExternalMetric",
            WITHIN_S,
            "the figures are unknown",
        )
        metrics.cluster.namespace("doomed")
        metrics.cluster.done("DELETE", "/api/v1/namespaces/doomed")
        eventually(
            lambda: metrics.cluster.ask("GET", "/api/v1/namespaces/doomed")[0],
            lambda status: status == 404,
            WITHIN_S,
            "a namespace is deleted",
        )
        assert available(metrics.cluster)[0] == "True"
        assert metrics.replicas("steady") == before
    finally:
        os.kill(metrics.clickhouse.pid, signal.SIGCONT)
    eventually(
        lambda: metrics.condition("steady")[0],
        lambda found: found == "ValidMetricFound",
        WITHIN_S,
        "known again",
    )
    assert metrics.replicas("steady") == before
