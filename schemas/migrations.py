"""The DDL of the tables: reads and renders the numbered files in schemas/tables. The store runs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from endpoint_analytics.schemas.shards import SHARDED, distributed_table, replicated_whole, table_of


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the tables are: on a single server; with `cluster`, replicated on its servers; with `shard_database` too,
    those of SHARDED in that database of each of its shards.
    """

    cluster: str = ""
    shard_database: str = ""

    @property
    def on_cluster(self) -> str:
        """Return the clause for statements that all servers run."""
        return f"ON CLUSTER `{self.cluster}`" if self.cluster else ""

    def render(self, statement: str) -> str:
        """Return a statement of a migration with its placeholders filled."""
        if self.shard_database and table_of(statement) not in SHARDED:
            statement = replicated_whole(statement)
        rendered = statement.replace("{on_cluster}", self.on_cluster)
        return rendered.replace("{replicated}", "Replicated" if self.cluster else "")


SINGLE_SERVER = Placement()


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement; `on_shards` if it runs in the database of the shards."""

    sql: str
    on_shards: bool = False


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file; its statements are run in order, once."""

    number: int
    name: str
    statements: tuple[Statement, ...]
    digest: str
    """SHA-256 of the statements, in hexadecimal, the same for every placement."""


def read_migrations(placement: Placement = SINGLE_SERVER) -> tuple[Migration, ...]:
    """Return all migrations, in order."""
    directory = files("endpoint_analytics.schemas") / "tables"
    named = sorted(
        (entry.name, entry.read_text()) for entry in directory.iterdir() if entry.name.endswith(".sql")
    )
    return tuple(parse_migration(name, text, placement) for name, text in named)


def parse_migration(file_name: str, text: str, placement: Placement = SINGLE_SERVER) -> Migration:
    """Parse a migration: comment lines are dropped, and statements end with `;` at the end of a line."""
    number, _, name = file_name.removesuffix(".sql").partition("_")
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    text = "\n".join(lines)
    digest = sha256(text.encode()).hexdigest()
    parts = [part.strip() for part in (text + "\n").split(";\n") if part.strip()]
    statements = tuple(placed for part in parts for placed in _place(part, placement))
    return Migration(int(number), name, statements, digest)


def _place(statement: str, placement: Placement) -> Iterator[Statement]:
    """Yield what runs for one statement: a table of the shards is followed by the one through which it is read."""
    table = table_of(statement) if placement.shard_database else ""
    yield Statement(placement.render(statement), table in SHARDED)
    if table in SHARDED:
        yield Statement(distributed_table(table, placement.cluster, placement.shard_database))
