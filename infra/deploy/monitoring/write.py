"""Writes the dashboards: `make dashboards`. What is written is kept beside the sources, and a test compares both."""

from __future__ import annotations

import json
from pathlib import Path

from endpoint_analytics.infra.deploy.monitoring import datadog_dashboard
from endpoint_analytics.infra.deploy.monitoring.clickhouse_dashboard import CLICKHOUSE
from endpoint_analytics.infra.deploy.monitoring.datadog_monitors import MONITORS, monitor_json
from endpoint_analytics.infra.deploy.monitoring.grafana import Json, dashboard_json
from endpoint_analytics.infra.deploy.monitoring.prometheus_dashboard import PROMETHEUS

GRAFANA = Path("grafana", "dashboards")
DATADOG = Path("datadog")


def files() -> dict[Path, str]:
    """Return the text of each file, by its path below this directory."""
    documents: dict[Path, Json] = {
        GRAFANA / "endpoint-clickhouse.json": dashboard_json(CLICKHOUSE),
        GRAFANA / "endpoints-prometheus.json": dashboard_json(PROMETHEUS),
        DATADOG / "dashboard.json": datadog_dashboard.dashboard_json(),
        **{DATADOG / "monitors" / f"{name}.json": monitor_json(each) for name, each in MONITORS.items()},
    }
    return {
        path: json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        for path, document in documents.items()
    }


def main() -> None:
    """Write all files below this directory."""
    home = Path(__file__).parent
    for path, text in files().items():
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
