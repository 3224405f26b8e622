"""The Prometheus rules: promtool accepts them and runs their tests, and each alert is tested and documented.

The tests themselves are in `rules`, in promtool's format. Debian's promtool runs all but those with native histograms;
`make test-slow` runs all with that of the Prometheus that the documents recommend.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.infra.deploy.monitoring.promql import existing_metrics, metrics_of
from tests.support import judges
from tests.support.parts import ROOT
from tests.test_docs import anchors

RULES = ROOT / "infra" / "deploy" / "monitoring" / "prometheus"
TESTS = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
FILES = sorted(path for path in RULES.glob("*.yaml") if path.name != "prometheus.yaml")
NATIVE = {"latency.yaml"}
DEBIAN = shutil.which("promtool")
FROM_DEBIAN = pytest.mark.skipif(
    DEBIAN is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)


def rules_of(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


RULES_OF = {path.name: rules_of(path) for path in FILES}
ALERTS = {rule["alert"]: rule for rules in RULES_OF.values() for rule in rules if "alert" in rule}


def run(program: str | Path | None, *words: str | Path) -> None:
    done = subprocess.run(
        [str(program), *map(str, words)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


@FROM_DEBIAN
def test_debians_promtool_runs_the_tests_without_native_histograms():
    run(DEBIAN, "check", "rules", *FILES)
    run(DEBIAN, "test", "rules", *(path for path in TESTS if path.name not in NATIVE))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_promtool_runs_all_tests():
    promtool = judges.promtool()
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", *FILES)
    run(promtool, "check", "config", "--syntax-only", RULES / "prometheus.yaml")
    run(promtool, "test", "rules", *TESTS)


def alerts_in_tests() -> tuple[set[str], set[str]]:
    """Return the alerts that some test expects, and those that some test expects only of the endpoints it names."""
    fires, quiet = set(), set()
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for expected in test.get("alert_rule_test", ()):
                (fires if expected["exp_alerts"] else quiet).add(expected["alertname"])
            quiet |= {
                name
                for each in test.get("promql_expr_test", ())
                for name in re.findall(r'alertname="(\w+)"', each["expr"])
            }
    return fires, quiet


def test_each_alert_is_tested_to_fire_and_not_to():
    assert alerts_in_tests() == (ALERTS.keys(), ALERTS.keys())


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_to_do(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["annotations"]["runbook"] == f"docs/alerts.md#{name.lower()}"


def test_the_document_has_a_section_for_each_alert_and_no_other():
    page = ROOT / "docs" / "alerts.md"
    found = {line.removeprefix("### ") for line in page.read_text().splitlines() if line.startswith("### ")}
    assert found == set(ALERTS)
    assert {name.lower() for name in ALERTS} <= anchors(page)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_metrics_exist(path):
    """Each is one of ours, or recorded by another rule; overrides are recorded by users."""
    recorded = {rule["record"] for rules in RULES_OF.values() for rule in rules if "record" in rule}
    used = set[str]().union(*(metrics_of(rule["expr"]) for rule in RULES_OF[path.name]))
    assert used - existing_metrics() - recorded == set()
