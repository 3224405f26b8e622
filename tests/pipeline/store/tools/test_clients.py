"""Clients of other languages with their defaults, and Superset: each finds the views and has the right figures."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.pipeline.serve.api.traffic import exact_quantile
from tests.pipeline.store.tools.conftest import Known
from tests.pipeline.store.tools.questions import QUESTIONS, VIEWS
from tests.support.judges import cargo_program, go_program, node, node_packages, virtual_environment

HERE = Path(__file__).parent
SUPERSET = (
    "apache-superset==6.1.0",
    "clickhouse-connect==0.15.1",
    "flask-caching==2.3.1",
    "cachetools==5.5.2",
)

pytestmark = [pytest.mark.judge, pytest.mark.slow]  # each is built or installed first


def questions(known: Known) -> str:
    return json.dumps({name: sql.format(db=known.database) for name, sql in QUESTIONS.items()})


def test_node(known: Known):
    home = node_packages("clickhouse", "@clickhouse/client@1.23.1")
    script = home / "node_judge.mjs"
    script.write_text((HERE / "node_judge.mjs").read_text())
    found = known.judge([node(), script, questions(known)])
    known.check_answers(found)
    assert found["ping"] is True
    assert set(VIEWS) <= set(found["tables"])
    assert found["streamed"] == 200_000
    assert str(found["refused"]).startswith("READONLY: ")


def test_go(known: Known):
    found = known.judge([go_program(HERE / "go_questions"), questions(known)])
    known.check_answers(found)
    assert found["bound"] == 1
    assert "read-only" in str(found["refused"]) or "READONLY" in str(found["refused"])


def test_rust(known: Known):
    found = known.judge([cargo_program(HERE / "rust_questions"), questions(known)])
    at = datetime.fromtimestamp(int(str(found["first_minute"])), UTC)
    known.check_answers(found | {"first_minute": at.strftime("%Y-%m-%dT%H:%M:%SZ")})
    assert found["bound"] == 1
    assert "READONLY" in str(found["refused"])


def test_superset(known: Known, tmp_path: Path):
    home = virtual_environment("superset", *SUPERSET)
    found = known.judge([home / "bin" / "python", HERE / "superset_judge.py", tmp_path, questions(known)])
    known.check_answers(found)
    tables, columns, charts = found["tables"], found["columns"], found["charts"]
    assert isinstance(tables, list)
    assert isinstance(columns, dict)
    assert isinstance(charts, dict)
    assert set(VIEWS) <= set(tables)
    assert "UInt64" in columns["arrived"]
    assert "DateTime" in columns["minute"]
    assert charts["requests_time_column"] == charts["latencies_time_column"] == "minute"
    for grain in ("PT1M", "PT1H"):
        assert sum(charts[f"requests {grain}"].values()) == len(known.requests)
    minutes = charts["latencies PT1M"]
    assert len(minutes) == 30
    for minute, p95 in minutes.items():
        at_s = datetime.fromisoformat(minute).replace(tzinfo=UTC).timestamp()
        values = [each.latency_us for each in known.requests if at_s <= each.at_s < at_s + 60]
        assert p95 == pytest.approx(exact_quantile(values, 0.95), rel=0.0056)
