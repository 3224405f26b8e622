"""A server that only OpenTelemetry's own packages instrument, through the receiver and all real parts."""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from tests.support.judges import virtual_environment
from tests.support.parts import Child, Stack
from tests.support.waiting import eventually, until_open

from endpoint_analytics.infra.local.system.port import free_port

pytestmark = pytest.mark.whole

PACKAGES = (
    "opentelemetry-distro==0.66b1",
    "opentelemetry-exporter-otlp-proto-http==1.45.1",
    "opentelemetry-instrumentation-fastapi==0.66b1",
    "fastapi==0.165.0",
    "uvicorn==0.54.0",
)
STATUSES = (200, 200, 200, 201, 404, 500, 503)
REQUESTS = 400


def start_receiver(stack: Stack, name: str, *words: str, **environment: str) -> tuple[Child, int]:
    child = stack.child(
        name,
        "agent",
        "otlp",
        "--listen",
        "127.0.0.1:0",
        *words,
        ready=r"ready http://.*:(\d+)\n",
        **environment,
    )
    return child, int(child.start()[1])


@contextmanager
def instrumented(port: int, directory: Path, **attributes: str) -> Iterator[tuple[str, Path]]:
    """Serve the application; yield its address and the file where OpenTelemetry's console exporter writes all spans."""
    home, own_port = virtual_environment("opentelemetry", *PACKAGES), free_port("127.0.0.1")
    spans, log = directory / "spans", directory / "log"
    environment = {
        "PATH": os.environ["PATH"],
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=otel",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp,console",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "PYTHONPATH": str(Path(__file__).parent),
        **attributes,
    }
    python = str(home / "bin" / "python")
    words = [python, "-m", "uvicorn", "otel_app:app", "--port", str(own_port), "--log-level", "warning"]
    with spans.open("wb") as output, log.open("wb") as errors:
        server = subprocess.Popen(
            [python, str(home / "bin" / "opentelemetry-instrument"), *words],
            env=environment,
            cwd=directory,
            stdout=output,
            stderr=errors,
        )
    try:
        until_open(own_port, server, log)
        yield f"http://127.0.0.1:{own_port}", spans
    finally:
        server.terminate()
        server.wait(30)


def get(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):  # the server cut it
        return 0


def server_spans(path: Path) -> list[dict]:
    found = []
    for text in path.read_text().split("\n}\n")[:-1]:
        span = json.loads(f"{text}}}")
        if span["kind"] == "SpanKind.SERVER" and span["attributes"].get("http.target") != "/health":
            found.append(span)
    return found


def duration_us(span: dict) -> int:
    start, end = (datetime.fromisoformat(span[name]) for name in ("start_time", "end_time"))
    return round((end - start).total_seconds() * 1e6)


def test_counts_and_quantiles_are_those_of_the_spans(stack: Stack, tmp_path: Path) -> None:
    chance = random.Random(5)
    receiver, port = start_receiver(stack, "otlp", "--exclude-paths", "/health")
    with instrumented(port, tmp_path) as (url, path):
        targets = (
            [
                f"{url}/answer/{chance.choice(STATUSES)}?wait_s={chance.expovariate(20):.4f}"
                for _ in range(REQUESTS)
            ]
            + [f"{url}/health"] * 20
            + [f"{url}/stream"] * 10
            + [f"{url}/stream?cut=true"] * 3
        )
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(get, targets))
        spans = eventually(
            lambda: server_spans(path), lambda found: len(found) >= REQUESTS + 13, 20, "the SDK's spans"
        )
    sql = """SELECT sum(finished), sum(aborted_streaming), sum(arrived), sum(latency_sum_us), uniqExact(replica_id)
        FROM boots FINAL WHERE namespace = 'otel' AND endpoint = 'shop'"""
    found = eventually(
        lambda: stack.rows(sql)[0], lambda row: row[2] >= len(spans), 20, "all spans are stored"
    )
    assert found[:3] == (REQUESTS + 10, 3, REQUESTS + 13)
    assert found[4] == 1
    whole = [duration_us(span) for span in spans if "cut=true" not in span["attributes"].get("http.url", "")]
    print(found, len(whole), sum(whole))
    receiver.stop()
