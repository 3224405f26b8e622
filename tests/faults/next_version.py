"""The version after this one: the same code, installed elsewhere, with one more migration.

Its migration only adds, as all do: a column to each kind of table that workers write, one that they read back, a table
and a view. So processes of both versions run at the same time on the same database.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.parts import ROOT

from endpoint_analytics.schemas.migrations import Migration, parse_migration, read_migrations

MIGRATION = """-- What a later version may add.

ALTER TABLE request_windows {on_cluster} ADD COLUMN IF NOT EXISTS retried UInt64 COMMENT 'Requests sent again';

ALTER TABLE boot_states {on_cluster} ADD COLUMN IF NOT EXISTS retried UInt64 COMMENT 'Requests sent again';

ALTER TABLE boots {on_cluster} ADD COLUMN IF NOT EXISTS retried UInt64 COMMENT 'Requests sent again';

ALTER TABLE partition_progress {on_cluster} ADD COLUMN IF NOT EXISTS reader String COMMENT 'Who read it';

CREATE TABLE IF NOT EXISTS upgrades {on_cluster} (at DateTime('UTC'), version String)
ENGINE = {replicated}ReplacingMergeTree
ORDER BY at;

CREATE VIEW IF NOT EXISTS retries {on_cluster}
AS SELECT namespace, endpoint, sum(retried) AS retried FROM request_windows FINAL GROUP BY namespace, endpoint;
"""


@dataclass(frozen=True, slots=True)
class NextVersion:
    """`environment` makes a Python process import it instead of this version."""

    environment: dict[str, str]
    migration: Migration


def install(directory: Path) -> NextVersion:
    """Install it in a directory: links to this version's packages, and its own tables."""
    package = directory / "endpoint_analytics"
    package.mkdir(parents=True)
    for file in (ROOT / "endpoint_analytics").glob("*.py*"):
        (package / file.name).symlink_to(file)
    for name in ("agents", "infra", "pipeline"):
        (package / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "schemas", package / "schemas", ignore=shutil.ignore_patterns("__pycache__"))
    name = f"{read_migrations()[-1].number + 1:04}_next.sql"
    (package / "schemas/tables" / name).write_text(MIGRATION)
    environment = {"PYTHONSAFEPATH": "1", "PYTHONPATH": f"{directory}:{ROOT}"}
    return NextVersion(environment, parse_migration(name, MIGRATION))


def command(*words: str) -> list[str]:
    """Return an `endpoint-analytics` command, of whichever version the environment selects."""
    return [sys.executable, "-m", "endpoint_analytics.infra.command", *words]
