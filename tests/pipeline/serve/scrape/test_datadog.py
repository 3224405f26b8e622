"""Datadog's own OpenMetrics check collects an exposition completely: metrics `.*`, otherwise its defaults."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as classic_families
from tests.pipeline.store.rows import boot, event, hardware, insert, setting, window
from tests.support.judges import JUDGES, missing

VERSION = "38.5.0"
DIRECTORY = JUDGES / f"datadog-{VERSION}"
GAUGE, MONOTONIC_COUNT = 0, 3


@pytest.fixture(scope="module")
def datadog() -> Iterator[Path]:
    """Datadog's Python, in a separate environment, since its pins differ from ours. Fetched once."""
    DIRECTORY.parent.mkdir(parents=True, exist_ok=True)
    python, ready = DIRECTORY / "bin" / "python", DIRECTORY / ".ready"
    with DIRECTORY.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(DIRECTORY)], check=True)
            words = ["-m", "pip", "install", "-q", "--disable-pip-version-check"]
            done = subprocess.run(
                [str(python), *words, f"datadog-checks-base[deps]=={VERSION}"],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                missing(f"datadog-checks-base {VERSION} cannot be had: {done.stderr[-300:]}")
            ready.touch()
    return python


@pytest.fixture(scope="module", autouse=True)
def _rows(client):
    """An endpoint with samples in every kind of family."""
    now = datetime.now(UTC)
    full = {"covered_to_us": 10_000_000, "pending_request_us": 20_000_000}
    insert(
        client,
        "boot_states",
        [
            boot(now, age_s=-600, status={200: 9, 503: 1}, finished=10, pending=2, latency_sum_us=70_000,
                 ttfb_count=10, ttfb_sum_us=9_000, dropped={"buffer_full": 3}, copies=2, conflicts=12),
            boot(now, age_s=-600, stream="hardware", copies=1, conflicts=5),
        ],
    )  # fmt: skip
    insert(client, "request_windows", [window(now, age_s=-600, latency={700: 10}, ttfb={500: 10}, **full)])
    insert(
        client,
        "hardware_windows",
        [hardware(now, name, 12.5, age_s=-600) for name in ("cpu_percent", "oom_kills")]
        + [hardware(now, "gpu_percent", 91.0, device="gpu0", age_s=-600)],
    )
    insert(client, "replica_events", [event(now, "running", age_s=50)])
    insert(client, "endpoint_settings", [setting(now, 1, 3)])


def expected(text: str, latest: bool) -> dict[tuple[str, int, frozenset[str]], float]:
    """What Datadog should have collected from the exposition, by name, kind and tags."""
    parse = text_string_to_metric_families if latest else classic_families
    found = {}
    for family in parse(text):
        if family.type == "stateset":
            continue  # it knows none; in the text format, its default, they are gauges
        for sample in family.samples:
            name, kind = f"ea.{sample.name}", GAUGE
            if family.type == "counter":
                name, kind = f"ea.{sample.name.removesuffix('_total')}.count", MONOTONIC_COUNT
            elif family.type == "summary" and "quantile" in sample.labels:
                name = f"ea.{family.name}.quantile"
            elif family.type == "summary":
                name, kind = f"ea.{family.name}.{sample.name.rpartition('_')[2]}", MONOTONIC_COUNT
            tags = frozenset(f"{label}:{value}" for label, value in sample.labels.items())
            found[name, kind, tags] = sample.value
    return found


@pytest.mark.parametrize("latest", [False, True], ids=["text", "openmetrics"])
@pytest.mark.parametrize("path", ["/v2/endpoint/acme/llm/open-metrics", "/v2/endpoint/acme/open-metrics"])
def test_it_takes_in_everything(datadog, service, token, path, latest) -> None:
    instance = {
        "openmetrics_endpoint": f"http://127.0.0.1:{service.port}{path}",
        "namespace": "ea",
        "metrics": [".*"],
        "extra_headers": {"Authorization": f"Bearer {token}"},
        **({"use_latest_spec": True} if latest else {}),
    }
    script = Path(__file__).with_name("datadog.py")
    done = subprocess.run(
        [str(datadog), str(script), json.dumps(instance)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    taken = {}
    for line in done.stdout.splitlines():
        name, kind, value, tags = json.loads(line)
        taken[name, kind, frozenset(tag for tag in tags if not tag.startswith("endpoint:http"))] = value
    accept = "application/openmetrics-text" if latest else "text/plain"
    answer = service.get(path, {"Authorization": f"Bearer {token}", "Accept": accept})
    wanted = expected(answer.text, latest)
    of_endpoints = [tag for _, _, tags in taken for tag in tags if tag.startswith("endpoint_")]
    assert set(of_endpoints) == (
        {"endpoint_namespace:acme", "endpoint_name:llm"} if "llm" not in path else set()
    )
    assert taken.keys() == wanted.keys()
    assert taken == pytest.approx(wanted)
    names = {name for name, _, _ in wanted}
    assert names >= {
        "ea.http_requests.count", "ea.latency_distribution.quantile", "ea.latency_distribution.sum",
        "ea.pending_requests", "ea.running_replicas", "ea.dropped_requests.count", "ea.missing_batches",
        "ea.cpu_usage_percent", "ea.oom_kills.count", "ea.autoscaling_pending_requests",
    }  # fmt: skip
    assert latest or "ea.replica_state" in names
    reported = {
        (name, tag): value
        for (name, _, tags), value in taken.items()
        for tag in tags
        if tag.startswith("stream:") and name.startswith(("ea.copied_boots", "ea.conflicting_batches"))
    }
    assert reported == {
        ("ea.copied_boots", "stream:requests"): 2, ("ea.copied_boots", "stream:hardware"): 1,
        ("ea.conflicting_batches.count", "stream:requests"): 12,
        ("ea.conflicting_batches.count", "stream:hardware"): 5,
    }  # fmt: skip
