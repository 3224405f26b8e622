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
from endpoint_analytics.schemas.migrations import Migration, read_migrations

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
    known = read_migrations(config.cluster)
    kept = environment_retention() if retention is None else retention
    on_cluster = f"ON CLUSTER `{config.cluster}`" if config.cluster else ""
    replicated = "Replicated" if config.cluster else ""
    where = f"database {config.database!r} at {config.url}"
    try:
        _make_database(config, on_cluster)
        client = connect(config)
        try:
            client.command(
                CREATE_RECORD.replace("{on_cluster}", on_cluster).replace("{replicated}", replicated)
            )
            client.command(ADD_DIGEST.replace("{on_cluster}", on_cluster))
            state = schema_state(known, read_applied(client))
            state.check_same(where)
            if any(number not in state.known for number in state.applied):
                state.check(where)
            ran = tuple(_apply(client, migration) for migration in known if migration.number in state.missing)
            apply_retention(client, kept, on_cluster)
        finally:
            client.close()
    except ClickHouseError as error:
        raise store_error(error, config.url, config.database) from error
    return ran


def _make_database(config: ClickHouseConfig, on_cluster: str) -> None:
    """Create the database unless it exists: a user without permission to create one can still migrate."""
    try:
        connect(config).close()
    except SchemaMissingError:
        server = connect(config, database="default")
        try:
            server.command(
                CREATE_DATABASE.replace("{database}", config.database).replace("{on_cluster}", on_cluster)
            )
        finally:
            server.close()


def _apply(client: Client, migration: Migration) -> Migration:
    for index, statement in enumerate(migration.statements, start=1):
        try:
            client.command(statement)
        except ClickHouseError as error:
            raise StoreError(
                f"statement {index} of migration {migration.number} ({migration.name}) failed; fix the "
                f"cause and run 'endpoint-analytics migrate' again, which continues from there: {error}"
            ) from error
    by = package_version("endpoint-analytics")
    record = {"number": migration.number, "name": migration.name, "digest": migration.digest, "by": by}
    client.command(RECORD, parameters=record)
    return migration
