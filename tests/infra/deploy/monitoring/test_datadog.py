"""The Datadog files: held by Datadog's own models, and on metrics and tags that its own check takes from the service.

There is no Datadog to run the queries.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.infra.deploy.monitoring.two_endpoints import make_traffic, store_first, store_second
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.serve.scrape.test_datadog import datadog
from tests.support.judges import python_package
from tests.support.parts import ROOT
from tests.test_docs import anchors

from endpoint_analytics.pipeline.store.rollup import roll_up
from endpoint_analytics.pipeline.store.tokens import create_token

__all__ = ["datadog"]
DIRECTORY = ROOT / "infra" / "deploy" / "monitoring" / "datadog"
MONITORS = sorted((DIRECTORY / "monitors").glob("*.json"))
MODELS = "datadog-api-client==2.62.0"
Json = dict[str, Any]


def read(path: Path) -> Json:
    document: Json = json.loads(path.read_text())
    return document


def queries() -> Iterator[str]:
    """Yield all queries for metrics."""
    for group in read(DIRECTORY / "dashboard.json")["widgets"]:
        for widget in group["definition"]["widgets"]:
            for request in widget["definition"]["requests"]:
                yield from (query["query"] for query in request["queries"])
    yield from (monitor["query"] for monitor in map(read, MONITORS) if monitor["type"] == "query alert")


METRIC = re.compile(r"(?:avg|max|min|sum):([\w.]+)\{([^}]*)\}(?: by \{([^}]*)\})?")


def metrics_and_tags() -> Iterator[tuple[str, set[str]]]:
    """Yield each metric that a query names, with the tags that it filters and groups by."""
    for query in queries():
        found = METRIC.findall(query)
        assert found, query
        for metric, filters, groups in found:
            tags = {each.lstrip("!$").partition(":")[0] for each in filters.split(",") if each != "*"}
            yield metric, tags | {each for each in groups.split(",") if each}


def test_formulas_name_their_queries():
    for group in read(DIRECTORY / "dashboard.json")["widgets"]:
        for widget in group["definition"]["widgets"]:
            for request in widget["definition"]["requests"]:
                names = {query["name"] for query in request["queries"]}
                text = " ".join(formula["formula"] for formula in request["formulas"])
                assert names == set(re.findall(r"\b(?:q\d+|\w+_part|\w+_whole|server|client|final)\b", text))


@pytest.mark.parametrize("path", MONITORS, ids=lambda path: path.stem)
def test_a_monitors_threshold_is_that_of_its_query(path):
    monitor = read(path)
    if monitor["type"] == "query alert":
        assert float(monitor["query"].rpartition(">")[2]) == monitor["options"]["thresholds"]["critical"]


@pytest.mark.parametrize("path", MONITORS, ids=lambda path: path.stem)
def test_a_monitor_says_what_to_do(path):
    _, _, anchor = read(path)["message"].partition("docs/alerts.md#")
    assert anchor in anchors(ROOT / "docs" / "alerts.md")


@pytest.mark.parametrize("path", MONITORS, ids=lambda path: path.stem)
def test_unknown_is_neither_bad_nor_well(path):
    monitor = read(path)
    if monitor["type"] == "query alert":
        assert monitor["options"]["on_missing_data"] == "show_no_data"


def problems(model: str, path: Path) -> list[str]:
    """Return what Datadog's models do not know of a file."""
    judge = Path(__file__).with_name("datadog_judge.py")
    done = subprocess.run(
        [sys.executable, str(judge), model, str(path)],
        env={**os.environ, "PYTHONPATH": str(python_package(MODELS))},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", [DIRECTORY / "dashboard.json", *MONITORS], ids=lambda path: path.stem)
def test_datadogs_models_hold_it(path):
    assert problems("Dashboard" if path.stem == "dashboard" else "Monitor", path) == []


@pytest.mark.slow
def test_datadogs_models_see_what_is_wrong(tmp_path):
    monitor = read(MONITORS[0])
    monitor["options"]["on_missing_data"] = "resolves"
    (tmp_path / "wrong.json").write_text(json.dumps(monitor))
    assert problems("Monitor", tmp_path / "wrong.json")
    dashboard = read(DIRECTORY / "dashboard.json")
    dashboard["widgets"][0]["definition"]["widgets"][0]["definition"]["requests"][0]["display_type"] = "lines"
    (tmp_path / "wrong.json").write_text(json.dumps(dashboard))
    assert problems("Dashboard", tmp_path / "wrong.json")


@pytest.mark.slow
def test_datadogs_check_takes_each_metric_with_its_tags(datadog, client, config, start_service):
    traffic = make_traffic()
    store_first(client, traffic)
    asyncio.run(roll_up(ClientExecutor(client)))
    store_second(client, traffic)
    token = create_token(client, "acme", "datadog", traffic.now)
    service = start_service(config)
    instance = {
        "openmetrics_endpoint": f"http://127.0.0.1:{service.port}/v2/endpoint/acme/llm/open-metrics",
        "namespace": "inference",
        "metrics": [".*"],
        "extra_headers": {"Authorization": f"Bearer {token}"},
        "tags": ["endpoint_namespace:acme", "endpoint_name:llm"],
    }
    script = Path(__file__).with_name("datadog_check.py")
    done = subprocess.run(
        [str(datadog), str(script), json.dumps(instance)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    taken = json.loads(done.stdout)
    for metric, tags in metrics_and_tags():
        assert metric in taken["metrics"], (metric, sorted(taken["metrics"]))
        assert tags <= {tag.partition(":")[0] for tag in taken["metrics"][metric]}, metric
    assert {"quantile:0.95", "quantile:0.5"} <= set(
        taken["metrics"]["inference.latency_distribution.quantile"]
    )
    (scrape,) = (read(path) for path in MONITORS if read(path)["type"] == "service check")
    (name,) = re.findall(r'^"([\w.]+)"', scrape["query"])
    assert any(tag.startswith("endpoint:http") for tag in taken["checks"][name])
