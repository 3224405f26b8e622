"""A real nginx with the file of infra/autoscaling/external-metrics, before a query service."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from tests.waiting import eventually

from endpoint_analytics.infra.kafka.port import free_port

INFRA = Path(__file__).parent.parent.parent / "infra"


def query_service() -> str:
    """Return the address of the query service's Service, as Kubernetes's DNS has it."""
    found = list(yaml.safe_load_all((INFRA / "kubernetes/pipeline/query-service.yaml").read_text()))
    (service,) = [each for each in found if each["kind"] == "Service"]
    return f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc:{service['spec']['ports'][0]['port']}"


@contextmanager
def metrics_proxy(folder: Path, token: str, service_port: int) -> Iterator[int]:
    """Yield its port; what it is asked is in access.log.

    In `folder` are serving.crt and .key, and ca.crt, which signed the aggregator's certificate.
    """
    port = free_port("127.0.0.1")
    (folder / "authorization.conf").write_text(f'proxy_set_header Authorization "Bearer {token}";\n')
    text = (INFRA / "autoscaling/external-metrics/nginx.conf").read_text()
    for there, here in (
        (" /tmp/", f" {folder}/"),
        ("/etc/serving/tls.crt", folder / "serving.crt"),
        ("/etc/serving/tls.key", folder / "serving.key"),
        ("/etc/front-proxy/ca.crt", folder / "ca.crt"),
        ("/etc/token/", f"{folder}/"),
        ("listen 8443", f"listen 127.0.0.1:{port}"),
        (query_service(), f"127.0.0.1:{service_port}"),
        ("access_log off;", f"access_log {folder}/access.log;"),
    ):
        assert there in text
        text = text.replace(there, str(here))
    (folder / "nginx.conf").write_text(text)
    with (folder / "nginx.log").open("wb") as log:
        nginx = subprocess.Popen(["nginx", "-c", folder / "nginx.conf", "-g", "daemon off;"], stderr=log)
    try:
        eventually(lambda: _listens(port), bool, 20, "nginx listens")
        yield port
    finally:
        nginx.terminate()
        nginx.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
