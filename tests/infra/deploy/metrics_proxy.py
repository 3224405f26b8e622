"""A real nginx with the configuration of infra/deploy/autoscaling/external-metrics, in front of a query service."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from tests.support.waiting import eventually

from endpoint_analytics.infra.local.system.port import free_port

INFRA = Path(__file__).parents[3] / "infra" / "deploy"


def query_service() -> str:
    """Return the address of the query service's Service in Kubernetes's DNS."""
    found = list(yaml.safe_load_all((INFRA / "kubernetes/pipeline/query-service.yaml").read_text()))
    (service,) = [each for each in found if each["kind"] == "Service"]
    return f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc:{service['spec']['ports'][0]['port']}"


@contextmanager
def metrics_proxy(directory: Path, token: str, service_port: int) -> Iterator[int]:
    """Yield its port; requests are logged to access.log.

    `directory` contains serving.crt and .key, and ca.crt, which signed the aggregator's certificate.
    """
    port = free_port("127.0.0.1")
    (directory / "authorization.conf").write_text(f'proxy_set_header Authorization "Bearer {token}";\n')
    text = (INFRA / "autoscaling/external-metrics/nginx.conf").read_text()
    for there, here in (
        (" /tmp/", f" {directory}/"),
        ("/etc/serving/tls.crt", directory / "serving.crt"),
        ("/etc/serving/tls.key", directory / "serving.key"),
        ("/etc/front-proxy/ca.crt", directory / "ca.crt"),
        ("/etc/token/", f"{directory}/"),
        ("listen 8443", f"listen 127.0.0.1:{port}"),
        (query_service(), f"127.0.0.1:{service_port}"),
        ("access_log off;", f"access_log {directory}/access.log;"),
    ):
        assert there in text
        text = text.replace(there, str(here))
    (directory / "nginx.conf").write_text(text)
    with (directory / "nginx.log").open("wb") as log:
        nginx = subprocess.Popen(["nginx", "-c", directory / "nginx.conf", "-g", "daemon off;"], stderr=log)
    try:
        eventually(lambda: _listens(port), bool, 20, "nginx listens")
        yield port
    finally:
        nginx.terminate()
        nginx.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
