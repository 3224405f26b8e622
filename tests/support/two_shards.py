"""A pytest plugin: every database of the tests is that of a cluster with two shards, in one embedded engine.

    pytest -p tests.support.two_shards tests/pipeline/store

The engine has neither a network nor a Keeper, so this differs from a real cluster, and all else is the product's own:

- Statements do not run ON CLUSTER, and tables are not Replicated.
- Instead of the cluster's servers, Distributed tables have this engine twice. It runs both parts of a query itself; on
  a cluster, it would send them to other servers.
- Both shards have their rows in one table. A filter lets each see only those that the sharding key assigns to it.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from clickhouse_connect.driver.httpclient import HttpClient

from endpoint_analytics.infra.local.clickhouse import process
from endpoint_analytics.pipeline.store import migrate
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.schemas.configuration.clickhouse_config import DEFAULT_DATABASE, ClickHouseConfig
from endpoint_analytics.schemas.configuration.settings import variable_of
from endpoint_analytics.schemas.shards import SHARDED, SHARDING_KEY

CLUSTER = "two"
SHARDS = 2

_ENGINE = "import sys; from tests.support.two_shards import serve; sys.exit(serve())"
_SERVERS = "<shard><replica><host>127.0.0.1</host><port>9000</port></replica></shard>" * SHARDS
_ON_CLUSTER = re.compile(r" ON CLUSTER `\w+`")
_REPLICATED = re.compile(
    r"Replicated(\w+)(?:\((?:'/clickhouse/[^']*', '[^']*'(?:, )?)?(.*?)\))?$", re.MULTILINE
)
_DISTRIBUTED = re.compile(
    r"(CREATE OR REPLACE TABLE \w+) AS `\w+`\.\w+\nENGINE = Distributed\('\w+', ('\w+', '\w+', .*)\)\n(COMMENT .*)"
)
_OPERATORS = re.compile(r"(TRUNCATE TABLE|OPTIMIZE TABLE|DELETE FROM) (\w+)")
_FILTERS = "additional_table_filters"
_FILTER = f"shardNum() = 0 OR {SHARDING_KEY} % shardCount() = shardNum() - 1"


def one_server(sql: str) -> str:
    """Return a statement for a cluster as one that the embedded engine can run."""
    sql = _REPLICATED.sub(lambda match: f"{match[1]}({match[2] or ''})", _ON_CLUSTER.sub("", sql))
    servers = ",".join(["127.0.0.1"] * SHARDS)
    return _DISTRIBUTED.sub(rf"\1 AS remote('{servers}', \2) \3", sql)


def on_shards(sql: str, database: str) -> str:
    """Return an operator's statement about a table with the shards' table, for the tests that have some."""
    match = _OPERATORS.match(sql)
    return f"{match[1]} {database}_shard.{sql[match.start(2) :]}" if match and match[2] in SHARDED else sql


class _OneServer:
    """A client whose commands run on one server; for migrations."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def command(self, sql: str, **arguments: Any) -> None:
        self._client.command(one_server(sql), **arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def serve() -> int:
    """Run the command `endpoint-analytics clickhouse`, with two shards: in a process of its own."""
    from endpoint_analytics.infra.command import main
    from endpoint_analytics.infra.local.clickhouse import privileges, start

    servers = f"<remote_servers><{CLUSTER}>{_SERVERS}</{CLUSTER}></remote_servers></clickhouse>"
    privileges._CONFIG = privileges._CONFIG.replace("</clickhouse>", servers)
    privileges._PRIVILEGES += ", REMOTE, CLUSTER"
    privileges.TABLE_ENGINES += ("Distributed",)
    # An analyst's query takes the filters of its handle along to the shards.
    del privileges._ANALYST_FIXED[_FILTERS]
    setattr(start, "confine", _filter_queries)  # noqa: B010 - mypy; the engine looks at the machine's network interfaces
    return main()


def _filter_queries(_directory: object) -> list[str]:
    """Let each shard see only its own rows; called where the engine's modules may be imported, before it starts."""
    from endpoint_analytics.infra.local.clickhouse.engine import ClickHouseEngine, Handle

    plain = ClickHouseEngine.open

    def filtered(self: ClickHouseEngine, *, analyst: bool = False) -> Handle:
        handle = plain(self, analyst=analyst)
        found = handle.execute(b"SELECT name FROM system.databases WHERE endsWith(name, '_shard')").output
        filters = ", ".join(
            f"'{name}.{table}': '{_FILTER}'" for name in found.decode().split() for table in sorted(SHARDED)
        )
        handle.set({_FILTERS: f"{{{filters}}}"})
        return handle

    ClickHouseEngine.open = filtered  # type: ignore[method-assign]
    return []


_config = process.ClickHouseProcess.config


def _config_of_cluster(self: process.ClickHouseProcess, database: str = DEFAULT_DATABASE) -> ClickHouseConfig:
    found = _config(self, database)
    return ClickHouseConfig(found.url, found.user, found.password, found.database, CLUSTER)


def _environment_of_cluster(self: process.ClickHouseProcess) -> dict[str, str]:
    found = _config(self)
    return {
        variable_of("clickhouse_url"): found.url,
        variable_of("clickhouse_user"): found.user,
        variable_of("clickhouse_password"): found.password,
        variable_of("clickhouse_cluster"): CLUSTER,
    }


NOT_OF_SHARDS = {
    "test_a_tool_finds_the_views_and_has_the_right_figures[dbeaver]": "Distributed tables have no size",
    "test_each_table_with_an_endpoint_is_on_shards_and_no_other": "it looks at the tables of a single server",
    "test_every_table_and_column_has_a_comment": "remote() takes no comment",
    "test_a_filter_on_the_endpoint_reads_only_its_part_of_the_tables[replicas]": "both shards read the one table",
    "test_migrate_sets_the_ttl_of_every_level_when_it_is_another": "it sets that of a single server's tables",
}
"""Tests that are left out, and why."""

_command = HttpClient.command


def _command_on_shards(self: HttpClient, cmd: str, *arguments: Any, **named: Any) -> Any:
    return _command(self, on_shards(cmd, str(self.database)), *arguments, **named)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the tests that are not of shards."""
    items[:] = [item for item in items if item.name not in NOT_OF_SHARDS]


def pytest_configure() -> None:
    """Make all databases those of the cluster."""
    setattr(HttpClient, "command", _command_on_shards)  # noqa: B010 - mypy
    process._START = _ENGINE
    process.ClickHouseProcess.config = _config_of_cluster  # type: ignore[method-assign]
    process.ClickHouseProcess.environment = property(_environment_of_cluster)  # type: ignore[assignment]
    setattr(migrate, "connect", lambda *given, **named: _OneServer(connect(*given, **named)))  # noqa: B010 - mypy
