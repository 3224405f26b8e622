"""Third-party clients with their defaults: ClickHouse's JDBC driver, and clickhouse-go with LZ4."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from tests.support.judges import go_program, maven_jars, python_package
from tests.support.parts import ROOT

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess

JDBC = "com.clickhouse:clickhouse-jdbc:0.11.1"
JPYPE = "jpype1==1.7.1"
HERE = Path(__file__).parent


def judged(server: ClickHouseProcess, words: list[str], **environment: str) -> str:
    config = server.config()
    login = {"JUDGE_USER": config.user, "JUDGE_PASSWORD": config.password}
    ran = subprocess.run(
        words, cwd=ROOT, env={**os.environ, **login, **environment}, check=False, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip
    assert ran.returncode == 0, f"{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"
    return ran.stdout


def test_jdbc_with_its_defaults(server):
    """compress=1 in both directions, prepared batches, errors, and cancellation."""
    jars = os.pathsep.join(str(path) for path in maven_jars(JDBC))
    packages = str(python_package(JPYPE))
    words = [sys.executable, "-m", "tests.infra.local.clickhouse.jdbc_judge"]
    url, table = f"jdbc:clickhouse://{server.host}:{server.port}/default", f"t_{uuid.uuid4().hex}"
    found = json.loads(
        judged(server, [*words, url, table], CLASSPATH=jars, PYTHONPATH=packages).splitlines()[-1]
    )
    errors = {name: found.pop(name) for name in ("unknown_table", "refused", "cancelled")}
    assert found == {
        "inserted": 1000,
        "rows": 1000,
        "sum": 1999999000000,
        "streamed": 44999850000,
        "left": "",
        "ran": 1,
        "still_running": 0,
    }
    assert "UNKNOWN_TABLE" in errors["unknown_table"]
    assert "VIOLATED_CONSTRAINT" in errors["refused"]
    assert errors["cancelled"]


@pytest.mark.slow  # it is built first, which takes minutes on a fresh machine
@pytest.mark.judge
@pytest.mark.parametrize("compression", ["lz4", "zstd", "gzip", "none"])
def test_clickhouse_go(server, compression):
    program = go_program(HERE / "clickhouse_go")
    table = f"t_{uuid.uuid4().hex}"
    said = judged(server, [str(program), f"{server.host}:{server.port}", compression, table])
    assert said == "100000 4999950000 100000\nrefused: true\nerror: true\n"
