"""The migrations run on the oldest ClickHouse that we name: 25.8, the Compose file's; chdb 3.7.2 is that release."""

import json
import subprocess
import sys

import pytest
from tests.support import judges
from tests.support.parts import ROOT

from endpoint_analytics.schemas.migrations import read_migrations

RELEASE = "25.8"
RUN = """
import json, sys
from chdb.session import Session
session = Session(sys.argv[1])
def run(sql):
    try:
        return session.query(sql, "TabSeparatedRaw").bytes().decode()
    except Exception as error:
        return f"{sql[:80]!r}: {error}"[:500]
version = run("SELECT version()").strip()
run("CREATE DATABASE e")
run("USE e")
failed = [error for sql in json.load(sys.stdin) if (error := run(sql))]
views = run("SELECT name FROM system.tables WHERE database = 'e' AND engine = 'View'").split()
parameters = [view for view in views if "{" in run(f"SHOW CREATE VIEW {view}")]
for view in set(views) - set(parameters):
    if error := run(f"SELECT * FROM {view} LIMIT 0"):
        failed.append(error)
tables = run("SELECT count() FROM system.tables WHERE database = 'e'").strip()
print(json.dumps({"version": version, "failed": failed, "tables": int(tables), "views": len(views)}))
"""


@pytest.mark.slow
@pytest.mark.judge
@pytest.mark.timeout(600)
def test_all_migrations_run_and_all_views_can_be_read(tmp_path):
    statements = [
        statement.sql
        for migration in read_migrations()
        for statement in migration.statements
        if statement.sql
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path)],
        env={"PYTHONPATH": str(judges.python_package("chdb==3.7.2")), "PATH": "/usr/bin:/bin"},
        input=json.dumps(statements),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["failed"] == []
    assert found["version"].startswith(RELEASE)
    assert f"CLICKHOUSE_VERSION:-{RELEASE}" in (ROOT / "infra/deploy/compose/compose.yaml").read_text()
    assert found["tables"] > 20
    assert found["views"] > 10
