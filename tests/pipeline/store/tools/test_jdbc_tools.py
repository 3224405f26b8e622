"""DBeaver and Metabase, by the JDBC driver that each brings, with its settings and its questions: see jdbc_judge."""

from __future__ import annotations

import os
import sys

import pytest
from tests.pipeline.store.tools.conftest import Known
from tests.pipeline.store.tools.questions import VIEWS
from tests.support.judges import maven_jars, python_package

JPYPE = "jpype1==1.7.1"


LZ4 = "org.lz4:lz4-java:1.8.0"
HTTP = "org.apache.httpcomponents.client5:httpclient5:5.2.3"


@pytest.mark.parametrize(
    ("tool", "libraries"),
    [
        pytest.param(
            "dbeaver",
            ("com.clickhouse:clickhouse-jdbc:0.6.1", HTTP, LZ4),
            id="dbeaver",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "metabase", ("com.clickhouse:clickhouse-jdbc:0.8.6", LZ4), id="metabase", marks=pytest.mark.slow
        ),
        pytest.param("driver", ("com.clickhouse:clickhouse-jdbc:0.11.1",), id="newest driver"),
    ],
)
def test_a_tool_finds_the_views_and_has_the_right_figures(
    known: Known, tool: str, libraries: tuple[str, ...]
):
    jars = os.pathsep.join(str(path) for each in libraries for path in maven_jars(each))
    found = known.judge(
        [sys.executable, "-m", "tests.pipeline.store.tools.jdbc_judge", tool],
        CLASSPATH=jars,
        PYTHONPATH=os.pathsep.join([str(python_package(JPYPE)), os.environ.get("PYTHONPATH", "")]),
    )
    known.check_answers(found)
    assert known.database in found["databases"]
    tables, columns = found["tables"], found["columns"]
    assert isinstance(tables, dict)
    assert isinstance(columns, dict)
    assert set(VIEWS) <= set(tables)
    assert tables["requests"].startswith("Requests by replica and minute")
    assert columns["arrived"] == "Requests that arrived"
    assert found["by_hour"] == len(known.requests)
    assert found["timezone"]
    if tool == "dbeaver":
        assert found["ddl"][:2] == ["CREATE", "VIEW"]
        assert found["has_size"]
