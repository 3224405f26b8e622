"""Where tables are on a ClickHouse cluster with several shards: pure DDL. Nothing here connects.

What belongs to an endpoint is on one shard, so that ClickHouse replaces older rows, and adds up an endpoint's figures,
as on a single server. Those tables are in a database of their own on each shard; the database that everybody uses has
Distributed tables of the same names, and all other tables as a whole on every server.
"""

from __future__ import annotations

import re

SHARDED = frozenset(
    {
        "request_windows", "request_minutes", "request_hours",
        "hardware_windows", "hardware_minutes", "hardware_hours",
        "engine_windows", "engine_minutes", "engine_hours",
        "outcome_windows", "outcome_minutes", "outcome_hours", "request_samples",
        "boot_states", "boots", "replica_events", "endpoint_settings",
    }
)  # fmt: skip
"""Tables whose rows name their endpoint."""

SHARDING_KEY = "cityHash64(namespace, endpoint)"

# On a cluster of several shards, a table without shards has one path for all servers, and each server one name.
_WHOLE = "Replicated{kind}('/clickhouse/tables/{{uuid}}/all', '{{shard}}-{{replica}}'{more})"
_ENGINE = re.compile(r"\{replicated\}(\w+)(?:\((.*)\))?$", re.MULTILINE)
_TABLE = re.compile(r"(?:CREATE TABLE IF NOT EXISTS|ALTER TABLE|DROP TABLE IF EXISTS) (\w+)")
_FILLED = re.compile(r"CREATE MATERIALIZED VIEW IF NOT EXISTS \w+ .*?\bTO (\w+)", re.DOTALL)
_NO_TABLE = (
    "CREATE VIEW IF NOT EXISTS ", "CREATE OR REPLACE VIEW ", "CREATE FUNCTION IF NOT EXISTS ",
    "CREATE DATABASE IF NOT EXISTS ",
)  # fmt: skip


class ShardingError(ValueError):
    """A statement of a migration is of a kind for which it is not known where it should run."""


def shard_database(database: str) -> str:
    """Return the database on each shard that has the tables of which each shard has a part."""
    return f"{database}_shard"


def table_of(statement: str) -> str:
    """Return the table that a statement creates, changes or fills; empty for views, functions and databases.

    Raises ShardingError for other statements.
    """
    if match := _TABLE.match(statement) or _FILLED.match(statement):
        return match[1]
    if statement.startswith(_NO_TABLE):
        return ""
    raise ShardingError(f"no rule says on which shards this runs: {statement[:100]}")


def replicated_whole(statement: str) -> str:
    """Return the statement with its `{replicated}` engine such that every server of all shards has every row."""

    def replaced(match: re.Match[str]) -> str:
        return _WHOLE.format(kind=match[1], more=f", {match[2]}" if match[2] else "")

    return _ENGINE.sub(replaced, statement)


def distributed_table(table: str, cluster: str, database: str) -> str:
    """Return the statement that creates the table through which a table of the shards is read and written.

    `database` is that of the shards. Run again after their table has changed, it has its columns, too; it holds no
    rows itself.
    """
    return (
        f"CREATE OR REPLACE TABLE {table} ON CLUSTER `{cluster}` AS `{database}`.{table}\n"
        f"ENGINE = Distributed('{cluster}', '{database}', '{table}', {SHARDING_KEY})\n"
        f"COMMENT 'Rows of all shards; each shard has its own in {database}.{table}, with a description'"
    )
