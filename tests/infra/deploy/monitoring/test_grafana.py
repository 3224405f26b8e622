"""The Grafana files: as their sources say, without overlap, held by Grafana's own models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.infra.deploy.monitoring.grafana_text import DASHBOARDS, DIRECTORY, Json, panels_of, read
from tests.infra.deploy.monitoring.promql import existing_metrics, metrics_of
from tests.support.judges import python_package

from endpoint_analytics.infra.deploy.monitoring.grafana import COLUMNS
from endpoint_analytics.infra.deploy.monitoring.write import files

SDK = "grafana-foundation-sdk==1769699379!11.6.0"
NAMES = [path.stem for path in DASHBOARDS]


def test_files_are_as_their_sources_say():
    """`make dashboards` writes them."""
    home = DIRECTORY.parent
    assert {path: (home / path).read_text() for path in files()} == files()


@pytest.mark.parametrize("name", NAMES)
def test_ids_and_titles_differ(name):
    dashboard = read(name)
    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    ids = [panel["id"] for panel in [*rows, *panels_of(dashboard)]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in panels_of(dashboard)]
    assert len(titles) == len(set(titles))
    for panel in panels_of(dashboard):
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))


def test_addresses_differ():
    assert len({read(name)["uid"] for name in NAMES}) == len(NAMES) == 2


@pytest.mark.parametrize("name", NAMES)
def test_panels_fill_the_grid_without_overlap(name):
    panels = read(name)["panels"]
    assert is_tiled(panels)
    for row in panels:
        if row["type"] == "row" and row["collapsed"]:
            assert is_tiled([row, *row["panels"]])
            assert all(panel["gridPos"]["y"] > row["gridPos"]["y"] for panel in row["panels"])


def is_tiled(panels: list[Json]) -> bool:
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        if taken & cells:
            return False
        taken |= cells
    return {x for x, _ in taken} == set(range(COLUMNS))


@pytest.mark.parametrize("name", NAMES)
def test_each_panel_says_what_its_number_means(name):
    for panel in panels_of(read(name)):
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize("name", NAMES)
def test_overrides_name_series_that_exist(name):
    """A colour of a legend that no query has would be an error in writing."""
    for panel in panels_of(read(name)):
        text = json.dumps(panel["targets"])
        for override in panel["fieldConfig"]["overrides"]:
            legend = override["matcher"]["options"]
            is_of_label = "{{" in text or "${__field.labels" in json.dumps(panel["fieldConfig"])
            assert legend in text or legend == "Value" or is_of_label, (panel["title"], legend)


def test_metrics_of_the_prometheus_dashboard_exist():
    dashboard = read("endpoints-prometheus")
    used = {
        name
        for panel in panels_of(dashboard)
        for target in panel["targets"]
        for name in metrics_of(target["expr"])
    }
    assert used - existing_metrics() == {"endpoint:latency_objective:seconds"}
    assert len(used) > 30


def test_the_provider_and_the_data_sources_are_what_the_dashboards_need():
    provisioning = DIRECTORY / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards/endpoint-analytics.yaml").read_text())[
        "providers"
    ]
    assert provider["type"] == "file"
    sources = yaml.safe_load((provisioning / "datasources/endpoint-analytics.yaml").read_text())[
        "datasources"
    ]
    needed = {read(name)["templating"]["list"][0]["query"] for name in NAMES}
    assert {source["type"] for source in sources} == needed


def lost(path: Path) -> list[str]:
    """Return what Grafana's models lose of a dashboard."""
    judge = Path(__file__).with_name("grafana_judge.py")
    done = subprocess.run(
        [sys.executable, str(judge), str(path)],
        env={**os.environ, "PYTHONPATH": str(python_package(SDK))},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_grafanas_models_hold_all_of_it(path):
    """A member that they do not know, or read otherwise, is lost when Grafana saves the dashboard."""
    assert lost(path) == []


@pytest.mark.slow
def test_grafanas_models_see_a_member_that_does_not_exist(tmp_path):
    dashboard = read(NAMES[0])
    dashboard["panels"][1]["choices"] = dashboard["panels"][1].pop("options")
    dashboard["panels"][1]["fieldConfig"]["defaults"]["unit"] = "secs"
    (tmp_path / "wrong.json").write_text(json.dumps(dashboard))
    assert lost(tmp_path / "wrong.json") == ["/panels/1/choices is unknown", "the unit secs is unknown"]
