"""The tables of a cluster: every statement for one or for several shards is held to the engine's own parser.

The engine here runs neither ON CLUSTER nor Replicated tables. What it can run of several shards, it does in the tests
of this directory with `-p tests.support.two_shards`.
"""

from __future__ import annotations

import re

import pytest

from endpoint_analytics.pipeline.store.connect import CLUSTER_SETTINGS
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.migrate import ADD_DIGEST, CREATE_DATABASE, CREATE_RECORD, migrate
from endpoint_analytics.pipeline.store.rollup_retention import _MODIFY
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig
from endpoint_analytics.schemas.migrations import Placement, read_migrations
from endpoint_analytics.schemas.shards import SHARDED, SHARDING_KEY, ShardingError, table_of

ONE_SHARD, SHARDS = Placement("main"), Placement("main", "d_shard")


def statements(placement: Placement) -> list[str]:
    made = [each.sql for migration in read_migrations(placement) for each in migration.statements]
    first = [
        placement.render(each) for each in (CREATE_DATABASE.replace("{database}", "d"), CREATE_RECORD.strip())
    ]
    last = [placement.render(ADD_DIGEST)]
    return [*first, *last, *made, _MODIFY.format(table="t", on_cluster=placement.on_cluster, days=7)]


@pytest.mark.parametrize("placement", [ONE_SHARD, SHARDS], ids=["one shard", "shards"])
def test_the_engine_parses_every_statement_as_one_for_all_servers(client, placement):
    """`formatQuery` parses as the engine does before it runs a query, and writes what it understood."""
    for statement in statements(placement):
        understood = client.query("SELECT formatQuery({sql:String})", parameters={"sql": statement})
        [(text,)] = understood.result_rows
        if not statement.startswith("CREATE FUNCTION") or "ON CLUSTER" in statement:
            assert re.search(r"ON CLUSTER `?main`?", text), text
        if re.match(r"CREATE TABLE", statement):
            assert re.search(r"ENGINE = Replicated\w*MergeTree", text), text


def test_each_table_with_an_endpoint_is_on_shards_and_no_other(client):
    rows = client.query(
        "SELECT table, countIf(name IN ('namespace', 'endpoint')) = 2 FROM system.columns"
        " WHERE database = currentDatabase() AND table IN"
        " (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree')"
        " GROUP BY table"
    ).result_rows
    assert {table for table, has_endpoint in rows if has_endpoint} == SHARDED
    for table in SHARDED:
        [(key,)] = client.query(
            "SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
            parameters={"table": table},
        ).result_rows
        # Rows that replace each other have the same key, so they have the same shard.
        assert {"namespace", "endpoint"} <= set(key.split(", ")), (table, key)
    assert client.query(f"SELECT {SHARDING_KEY} FROM boots").result_rows == []


def test_shards_have_their_own_tables_and_all_servers_the_others():
    placed = [
        (table_of(each.sql), each) for migration in read_migrations(SHARDS) for each in migration.statements
        if "Distributed" not in each.sql
    ]  # fmt: skip
    assert {table for table, each in placed if each.on_shards} == SHARDED
    for table, each in placed:
        if each.sql.startswith("CREATE TABLE"):
            whole = "ReplicatedReplacingMergeTree('/clickhouse/tables/{uuid}/all', '{shard}-{replica}'"
            assert (whole in each.sql) == (table not in SHARDED), each.sql


def test_a_table_of_shards_is_read_through_one_that_has_its_newest_columns():
    """After each statement on the shards' table, and before any view that reads it."""
    for migration in read_migrations(SHARDS):
        for statement, following in zip(migration.statements, (*migration.statements[1:], None), strict=True):
            if statement.on_shards:
                table = table_of(statement.sql)
                assert following is not None
                assert following.sql.startswith(
                    f"CREATE OR REPLACE TABLE {table} ON CLUSTER `main` AS `d_shard`.{table}\n"
                    f"ENGINE = Distributed('main', 'd_shard', '{table}', cityHash64(namespace, endpoint))"
                )


def test_a_kind_of_statement_without_a_rule_is_an_error():
    with pytest.raises(ShardingError, match="RENAME"):
        table_of("RENAME TABLE a TO b")


def test_the_settings_for_shards_exist(client):
    names = tuple(CLUSTER_SETTINGS)
    rows = client.query("SELECT name FROM system.settings WHERE name IN {names:Array(String)}",
                        parameters={"names": list(names)}).result_rows  # fmt: skip
    assert {name for (name,) in rows} == set(names)


def test_a_cluster_that_the_server_does_not_know_is_named(config):
    wanted = ClickHouseConfig(config.url, config.user, config.password, config.database, "elsewhere")
    with pytest.raises(StoreError, match=r"knows no cluster 'elsewhere'; those that it knows: "):
        migrate(wanted)
