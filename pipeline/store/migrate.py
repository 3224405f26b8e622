"""Migrates the database: each numbered migration of schemas, in order, once.

A migration is recorded after its last statement. Statements use IF NOT EXISTS, so after a crash, or a concurrent run,
simply run it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as package_version
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.errors import (
    SchemaMissingError,
    SchemaNewerError,
    SchemaOtherError,
    StoreError,
    store_error,
)
from endpoint_analytics.pipeline.store.rollup_levels import Retention, environment_retention
from endpoint_analytics.pipeline.store.rollup_retention import apply_retention
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig
from endpoint_analytics.schemas.migrations import SINGLE_SERVER, Migration, Placement, read_migrations
from endpoint_analytics.schemas.shards import shard_database

CREATE_DATABASE = "CREATE DATABASE IF NOT EXISTS `{database}` {on_cluster}"

CREATE_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations {on_cluster}
(
    number UInt32 COMMENT 'Number of the migration',
    name String COMMENT 'What it does',
    digest String COMMENT 'SHA-256 of its statements, in hexadecimal',
    applied_at DateTime('UTC') DEFAULT now() COMMENT 'When its last statement had run',
    applied_by String COMMENT 'Version of endpoint-analytics that ran it'
)
ENGINE = {replicated}ReplacingMergeTree
ORDER BY number
COMMENT 'Migrations that this database has'
"""

# A database from before the first release has no digests.
ADD_DIGEST = "ALTER TABLE schema_migrations {on_cluster} ADD COLUMN IF NOT EXISTS digest String"

RECORD = """
INSERT INTO schema_migrations (number, name, digest, applied_by)
VALUES ({number:UInt32}, {name:String}, {digest:String}, {by:String})
"""

CLUSTERS = "SELECT cluster, uniqExact(shard_num) FROM system.clusters GROUP BY cluster"
MACRO = "SELECT substitution FROM system.macros WHERE macro = {macro:String} UNION ALL SELECT '' LIMIT 1"
PLACED = """
SELECT endsWith(engine, 'MergeTree') FROM system.tables
WHERE database = currentDatabase() AND name = 'request_windows'
"""

APPLIED = "SELECT number, max(digest) FROM schema_migrations GROUP BY number ORDER BY number"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The migrations that the code knows and that the database has: their digests by number."""

    known: Mapping[int, str]
    applied: Mapping[int, str]

    @property
    def missing(self) -> tuple[int, ...]:
        """Return the migrations still to run."""
        return tuple(number for number in self.known if number not in self.applied)

    def check(self, where: str) -> None:
        """Raise a StoreError unless the database has exactly the expected migrations."""
        self.check_same(where)
        unknown = [number for number in self.applied if number not in self.known]
        if unknown:
            raise SchemaNewerError(
                f"{where} has migration {max(unknown)}, but the newest that this version of endpoint-analytics knows "
                f"is {max(self.known, default=0)}: run the newer version"
            )
        self._check_complete(where)

    def check_readable(self, where: str) -> None:
        """Raise a StoreError unless the database has all that this version reads. A newer one has: migrations only add,
        so that parts of the old version go on while others are replaced.
        """
        self.check_same(where)
        self._check_complete(where)

    def _check_complete(self, where: str) -> None:
        if self.missing:
            raise SchemaMissingError(
                f"{where} lacks migration {', '.join(map(str, self.missing))}: "
                "run 'endpoint-analytics migrate'"
            )

    def check_same(self, where: str) -> None:
        """Raise SchemaOtherError if a migration of the database is not the one that the code knows by that number."""
        for number, digest in self.applied.items():
            if self.known.get(number, digest) != digest:
                raise SchemaOtherError(
                    f"{where} was made by an unreleased version of endpoint-analytics, with other tables (migration "
                    f"{number} differs): what it holds cannot be read. Drop it, or choose another database; for a "
                    "local run, delete its data directory (make clean-data)"
                )


def schema_state(known: Sequence[Migration], applied: Iterable[Sequence[Any]]) -> SchemaState:
    """Return the state for these migrations and the rows of `APPLIED`."""
    return SchemaState(
        {migration.number: migration.digest for migration in known},
        {int(number): str(digest) for number, digest in applied},
    )


def read_applied(client: Client) -> list[Sequence[Any]]:
    """Return the rows of `APPLIED`: the migrations that the client's database has."""
    return list(client.query(APPLIED).result_rows)


def migrate(config: ClickHouseConfig, retention: Retention | None = None) -> tuple[Migration, ...]:
    """Run the missing migrations and return them, possibly none.

    Then sets the retention of the tables, from `retention` or by default from the environment.
    Raises SchemaNewerError or SchemaOtherError, before changing anything, if the database is newer than this code, or
    of an unreleased version.
    """
    kept = environment_retention() if retention is None else retention
    where = f"database {config.database!r} at {config.url}"
    try:
        placement = _find_placement(config)
        _make_database(config, config.database, placement)
        if placement.shard_database:
            _make_database(config, placement.shard_database, placement)
        client = connect(config)
        shards = connect(config, database=placement.shard_database) if placement.shard_database else client
        try:
            client.command(placement.render(CREATE_RECORD.strip()))
            client.command(placement.render(ADD_DIGEST))
            known = read_migrations(placement)
            state = schema_state(known, read_applied(client))
            state.check_same(where)
            if any(number not in state.known for number in state.applied):
                state.check(where)
            _check_placement(client, placement, where)
            ran = tuple(
                _apply(client, shards, migration) for migration in known if migration.number in state.missing
            )
            apply_retention(shards, kept, placement.on_cluster)
        finally:
            client.close()
            shards.close()
    except ClickHouseError as error:
        raise store_error(error, config.url, config.database) from error
    return ran


def _find_placement(config: ClickHouseConfig) -> Placement:
    """Return where the tables belong: asks the server how many shards the cluster has. Raises StoreError."""
    if not config.cluster:
        return SINGLE_SERVER
    server = connect(config, database="default")
    try:
        # An operator's configuration may name the cluster by a macro, which is the server's.
        macro = config.cluster.removeprefix("{").removesuffix("}")
        named = config.cluster == f"{{{macro}}}"
        name = (
            str(server.query(MACRO, parameters={"macro": macro}).result_rows[0][0])
            if named
            else config.cluster
        )
        shards = {cluster: int(number) for cluster, number in server.query(CLUSTERS).result_rows}
    finally:
        server.close()
    if name not in shards:
        known = ", ".join(sorted(shards)) or "none"
        raise StoreError(
            f"ClickHouse at {config.url} knows no cluster {name!r}; those that it knows: {known}. Set "
            "ENDPOINT_ANALYTICS_CLICKHOUSE_CLUSTER to one of them, or add it to the server's remote_servers"
        )
    return Placement(config.cluster, shard_database(config.database) if shards[name] > 1 else "")


def _check_placement(client: Client, placement: Placement, where: str) -> None:
    """Raise StoreError if the tables exist and are placed otherwise: moving their rows is not a migration's work."""
    for (has_rows,) in client.query(PLACED).result_rows:
        if bool(has_rows) == bool(placement.shard_database):
            raise StoreError(
                f"{where} was made for {'one shard' if has_rows else 'several shards'}, and the cluster "
                "has another number now: rows would be missed or counted twice. Choose another database, and copy what "
                "is to be kept with INSERT ... SELECT"
            )


def _make_database(config: ClickHouseConfig, name: str, placement: Placement) -> None:
    """Create the database unless it exists: a user without permission to create one can still migrate."""
    try:
        connect(config, database=name).close()
    except SchemaMissingError:
        server = connect(config, database="default")
        try:
            server.command(placement.render(CREATE_DATABASE.replace("{database}", name)))
        finally:
            server.close()


def _apply(client: Client, shards: Client, migration: Migration) -> Migration:
    for index, statement in enumerate(migration.statements, start=1):
        try:
            (shards if statement.on_shards else client).command(statement.sql)
        except ClickHouseError as error:
            raise StoreError(
                f"statement {index} of migration {migration.number} ({migration.name}) failed; fix the "
                f"cause and run 'endpoint-analytics migrate' again, which continues from there: {error}"
            ) from error
    by = package_version("endpoint-analytics")
    record = {"number": migration.number, "name": migration.name, "digest": migration.digest, "by": by}
    client.command(RECORD, parameters=record)
    return migration
