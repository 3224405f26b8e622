"""The DDL of the tables: reads and renders the numbered files in schemas/tables. The store runs them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file; its statements are run in order, once."""

    number: int
    name: str
    statements: tuple[str, ...]
    digest: str
    """SHA-256 of the statements, in hexadecimal, whether for a cluster or not."""


def read_migrations(cluster: str = "") -> tuple[Migration, ...]:
    """Return all migrations, in order.

    With the name of a ClickHouse cluster, statements run ON CLUSTER and the tables are replicated.
    """
    directory = files("endpoint_analytics.schemas") / "tables"
    named = sorted(
        (entry.name, entry.read_text()) for entry in directory.iterdir() if entry.name.endswith(".sql")
    )
    return tuple(parse_migration(name, text, cluster) for name, text in named)


def parse_migration(file_name: str, text: str, cluster: str = "") -> Migration:
    """Parse a migration: comment lines are dropped, and statements end with `;` at the end of a line."""
    number, _, name = file_name.removesuffix(".sql").partition("_")
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    text = "\n".join(lines)
    digest = sha256(text.encode()).hexdigest()
    rendered = text.replace("{on_cluster}", f"ON CLUSTER `{cluster}`" if cluster else "")
    rendered = rendered.replace("{replicated}", "Replicated" if cluster else "")
    statements = tuple(part.strip() for part in (rendered + "\n").split(";\n") if part.strip())
    return Migration(int(number), name, statements, digest)
