"""Refusals by ClickHouse itself, through a table setting, a constraint or a view, and how to undo each."""

from __future__ import annotations

from dataclasses import dataclass

from endpoint_analytics.pipeline.store.connect import Client


@dataclass(frozen=True)
class Refusal:
    """Statements that make ClickHouse refuse inserts into `table` and that undo it, and the error in between."""

    name: str
    table: str
    error: str
    begin: tuple[str, ...]
    end: tuple[str, ...]

    def start(self, client: Client) -> None:
        """Start refusing."""
        for sql in self.begin:
            client.command(sql.format(t=self.table))

    def stop(self, client: Client) -> None:
        """Stop refusing."""
        for sql in self.end:
            client.command(sql.format(t=self.table))


def _of_setting(name: str, table: str, error: str, setting: str, value: int) -> Refusal:
    return Refusal(
        name,
        table,
        error,
        (f"ALTER TABLE {{t}} MODIFY SETTING {setting} = {value}",),
        (f"ALTER TABLE {{t}} RESET SETTING {setting}",),
    )


def _of_view(name: str, table: str, error: str, select: str, target: str = "ENGINE = Null") -> Refusal:
    view = f"CREATE MATERIALIZED VIEW refusing {target} AS SELECT {select} AS x FROM {{t}}"
    return Refusal(name, table, error, (view,), ("DROP TABLE IF EXISTS refusing SYNC",))


REFUSALS = (
    Refusal(
        "constraint",
        "request_windows",
        "VIOLATED_CONSTRAINT",
        ("ALTER TABLE {t} ADD CONSTRAINT refusing CHECK 0",),
        ("ALTER TABLE {t} DROP CONSTRAINT IF EXISTS refusing",),
    ),
    Refusal(
        "too many parts",
        "boot_states",
        "TOO_MANY_PARTS",
        (
            "SYSTEM STOP MERGES {t}",
            "ALTER TABLE {t} MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 1",
        ),
        (
            "ALTER TABLE {t} RESET SETTING parts_to_delay_insert, parts_to_throw_insert",
            "SYSTEM START MERGES {t}",
        ),
    ),
    _of_setting(
        "disk below its reserve",
        "hardware_windows",
        "NOT_ENOUGH_SPACE",
        "min_free_disk_bytes_to_perform_insert",
        10**18,
    ),
    _of_setting("read-only", "chunks", "TABLE_IS_PERMANENTLY_READ_ONLY", "table_readonly", 1),
    _of_view("a view that throws", "request_windows", "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", "throwIf(1)"),
    _of_view("a view that reads wrongly", "boot_states", "CANNOT_PARSE_TEXT", "toUInt8(boot_id)"),
    _of_view(
        "too many partitions",
        "request_windows",
        "TOO_MANY_PARTS",
        "arrayJoin(range(200))",
        "ENGINE = MergeTree PARTITION BY x ORDER BY x",
    ),
    _of_view(
        "out of memory",
        "hardware_windows",
        "MEMORY_LIMIT_EXCEEDED",
        "length(arrayMap(i -> repeat('x', 1000000), range(toUInt64(rand() % 2 + 100000))))",
    ),
    Refusal(
        "a table is gone",
        "boot_states",
        "migrate",
        ("RENAME TABLE {t} TO gone",),
        ("RENAME TABLE gone TO {t}",),
    ),
)

GONE = REFUSALS[-1]
PASSING = REFUSALS[:-1]
"""What may be begun and taken back beside any other fault."""
