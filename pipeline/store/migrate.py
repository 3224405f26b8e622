"""Bringing the database up to date: each numbered migration of schemas, in order, once.

A migration is recorded after its last statement. Statements are IF NOT EXISTS, so a run that crashed in the
middle, or that another one overtakes, is mended by running again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as package_version

from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.errors import (
    SchemaMissingError,
    SchemaNewerError,
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
    applied_at DateTime('UTC') DEFAULT now() COMMENT 'When its last statement had run',
    applied_by String COMMENT 'Version of endpoint-analytics that ran it'
)
ENGINE = {replicated}ReplacingMergeTree
ORDER BY number
COMMENT 'Migrations that this database has'
"""

RECORD = """
INSERT INTO schema_migrations (number, name, applied_by) VALUES ({number:UInt32}, {name:String}, {by:String})
"""

APPLIED = "SELECT DISTINCT number FROM schema_migrations ORDER BY number"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Which migrations the code knows and which the database has, by number."""

    known: tuple[int, ...]
    applied: tuple[int, ...]

    @property
    def missing(self) -> tuple[int, ...]:
        """Migrations that are still to run."""
        return tuple(number for number in self.known if number not in self.applied)

    def check(self, where: str) -> None:
        """Raise unless the database is just as this code wants it."""
        unknown = [number for number in self.applied if number not in self.known]
        if unknown:
            raise SchemaNewerError(
                f"{where} has migration {max(unknown)}, and this version of endpoint-analytics knows "
                f"{max(self.known, default=0)} as its newest: run the newer version"
            )
        if self.missing:
            raise SchemaMissingError(
                f"{where} lacks migration {', '.join(map(str, self.missing))}: "
                "run 'endpoint-analytics migrate'"
            )


def schema_state(known: Sequence[Migration], applied: Sequence[int]) -> SchemaState:
    """Return the state for these migrations and the numbers that `APPLIED` gave."""
    return SchemaState(tuple(migration.number for migration in known), tuple(applied))


def read_applied(client: Client) -> tuple[int, ...]:
    """Return the numbers of the migrations that the client's database has."""
    return tuple(int(row[0]) for row in client.query(APPLIED).result_rows)


def migrate(config: ClickHouseConfig, retention: Retention | None = None) -> tuple[Migration, ...]:
    """Create what is missing and return the migrations that were run, none when all was there.

    The tables are then made to keep what `retention` says, or without it the environment.
    Raises SchemaNewerError, before anything is changed, when the database knows more than this code.
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
            state = schema_state(known, read_applied(client))
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
    """Create the database unless it is there: a user who may not create one can still migrate."""
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
    for place, statement in enumerate(migration.statements, start=1):
        try:
            client.command(statement)
        except ClickHouseError as error:
            raise StoreError(
                f"statement {place} of migration {migration.number} ({migration.name}) failed; mend "
                f"the cause and run 'endpoint-analytics migrate' again, which goes on from there: {error}"
            ) from error
    by = package_version("endpoint-analytics")
    client.command(RECORD, parameters={"number": migration.number, "name": migration.name, "by": by})
    return migration
