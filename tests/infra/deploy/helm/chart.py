"""The Helm chart, the values that it is tested with, and what Helm makes of them.

    python -m tests.infra.deploy.helm.chart

writes `rendered` after a change of the chart: the fast tests read that, and the slow ones check that it is what Helm
renders. Dashboards and rules are left out of it, since they are files of ours that the chart copies.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml
from tests.support.judges import go_package
from tests.support.parts import ROOT

CHART = ROOT / "infra" / "deploy" / "helm" / "endpoint-analytics"
RENDERED = Path(__file__).parent / "rendered"
CASES = tuple(sorted(path.stem for path in (CHART / "ci").glob("*.yaml")))
VERSIONS = {"v3": "v3.22.0", "v4": "v4.3.2"}
TEMPLATE = ("template", "one", CHART, "--namespace", "analytics", "--kube-version", "1.34")
"""Helm 3 that is built from its module renders for Kubernetes 1.20 unless told otherwise."""
WITHOUT_COPIES = ("--set", "grafana.dashboards.enabled=false", "--set", "prometheus.rules.enabled=false")

Json = dict[str, Any]


def helm(version: str) -> Path:
    """Return Helm, built from its Go module: two minutes the first time."""
    return go_package(f"helm.sh/helm/{version}/cmd/helm", VERSIONS[version])


def run(program: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=300)


def rendered(program: Path, case: str, *more: str) -> str:
    """Return what Helm renders for the values of a case."""
    made = run(program, *TEMPLATE, "--values", values_of(case), *more)
    assert made.returncode == 0, made.stderr
    return made.stdout


def values_of(case: str) -> Path:
    return CHART / "ci" / f"{case}.yaml"


def objects(text: str) -> list[Json]:
    return [found for found in yaml.safe_load_all(text) if found is not None]


if __name__ == "__main__":
    RENDERED.mkdir(exist_ok=True)
    for each in CASES:
        (RENDERED / f"{each}.yaml").write_text(rendered(helm("v4"), each, *WITHOUT_COPIES))
