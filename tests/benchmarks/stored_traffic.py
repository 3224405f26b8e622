"""Fills ClickHouse with hours and days of an endpoint's life, from the true rows of `traffic`.

The rows of one epoch are folded; SQL makes the others of them: a replica has the same minutes in another order, and its
sums differ, because rows that repeat would compress better than true ones do. Minutes and hours are rolled up; older
ones are made of these in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.benchmarks import traffic

from endpoint_analytics.pipeline.core.row_block import RowBlock
from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.store.connect import Client
from endpoint_analytics.pipeline.store.writer import encode_rows

EPOCH_S = 1200
FINEST = ("request_windows", "hardware_windows", "boot_states", "chunks")
STORED_BYTES = """
SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts
WHERE database = currentDatabase() AND active AND table IN {tables:Array(String)} GROUP BY table ORDER BY table
"""
_COLUMNS = """
SELECT name, type FROM system.columns
WHERE database = currentDatabase() AND table = {table:String} AND default_kind = '' ORDER BY position
"""

# How much later a row of a replica is than the one it is made of; offsets grow as the partition's messages do.
_LATER = f"""
    toUnixTimestamp({{time}}) - {{begun_s}} AS was_s,
    (was_s + 60 * (cityHash64(replica_id, {{epoch}}) % {EPOCH_S // 60})) % {EPOCH_S} - was_s
        + {{epoch}} * {EPOCH_S} AS later_s,
    later_s * intDiv({{replicas}} + {traffic.PARTITIONS - 1} - partition, {traffic.PARTITIONS}) AS later_offset,
    cityHash64(replica_id, {{epoch}}, version) AS chance"""


@dataclass(frozen=True, slots=True)
class Filling:
    """So many replicas of the endpoint bench/llm, since `begun_s`, for so many epochs."""

    client: Client
    replicas: int
    begun_s: int
    epochs: int

    @property
    def seconds(self) -> int:
        """Return how long the endpoint lives."""
        return self.epochs * EPOCH_S

    def fill(self) -> None:
        """Insert the rows of the finest level."""
        for table in FINEST:
            self.client.command(f"CREATE TABLE true_{table} AS {table} ENGINE = Memory")
        for insert in encode_rows(_renamed(traffic.rows(self.replicas, self.begun_s, EPOCH_S))):
            self.client.raw_insert(insert.table, insert_block=insert.data, fmt=insert.format)
        for epoch in range(self.epochs):
            for table in FINEST:
                self._insert(table, epoch)

    def fill_endpoint(self, endpoint: str, first: int, replicas: int, epochs: int) -> None:
        """Insert another endpoint that has some of the replicas, for the last epochs."""
        whose = f"toUInt32(substring(replica_id, 9)) BETWEEN {first} AND {first + replicas - 1}"
        for epoch in range(self.epochs - epochs, self.epochs):
            for table in ("request_windows", "hardware_windows", "boot_states"):
                self._insert(table, epoch, f"'{endpoint}'", whose)

    def fill_newest(self) -> None:
        """Insert the last minute of each replica again, as if it came now."""
        for table in ("request_windows", "hardware_windows"):
            names = ", ".join(self._columns(table))
            last_s = self.begun_s + self.seconds - 60
            self.client.command(
                f"INSERT INTO {table} ({names}) SELECT {names} FROM {table} FINAL"
                f" WHERE endpoint = 'llm' AND window_start >= toDateTime({last_s}, 'UTC')"
            )

    def _columns(self, table: str) -> dict[str, str]:
        """Return the types of the columns that an insert may name."""
        return {
            str(name): str(kind)
            for name, kind in self.client.query(_COLUMNS, parameters={"table": table}).result_rows
        }

    def _insert(self, table: str, epoch: int, endpoint: str = "endpoint", whose: str = "1") -> None:
        time = "window_start" if table.endswith("windows") else "chunk_time"
        columns = self._columns(table)
        values = {name: f"b.{name}" for name in columns}
        for name in columns:
            if name in (time, "last_at", "last_append"):
                values[name] = f"b.{name} + later_s"
            elif name in ("version", "chunk"):
                values[name] = f"b.{name} + later_offset"
            elif name in ("latency_sum_us", "ttfb_sum_us", "pending_request_us", "streaming_request_us") and (
                table == "request_windows"
            ):
                values[name] = f"if(b.{name} > 1000, b.{name} + chance % 1000, b.{name})"
            elif name == "sum":
                unit = "multiIf(b.sum != floor(b.sum), 0.001, b.sum > 1e9, 4096, 1)"
                values[name] = f"if(b.min != b.max, b.sum + chance % 256 * {unit}, b.sum)"
            elif table == "boot_states" and name in ("next_seq", "last_seq", "batches"):
                values[name] = f"b.{name} + later_s"
            elif table == "boot_states" and (total := name.removeprefix("agent_")) in _TOTALS:
                values[name] = (
                    f"b.{name} + later_s * (20 + cityHash64(replica_id, '{total}') % 5) + chance % 100"
                )
            elif table == "boot_states" and name.endswith("status_counts"):
                share = "later_s * 20 / (1 + 3 * at) + cityHash64(chance, at) % 100"
                values[name] = (
                    f"arrayMap((n, at) -> n + toUInt64({share}), b.{name}, arrayEnumerate(b.{name}))"
                )
            elif name == "recent_ends":
                moved = "end + later_s * 1000000 + cityHash64(end, replica_id, later_s) % 500"
                values[name] = f"arrayMap(end -> {moved}, b.{name})"
        if "endpoint" in values:
            values["endpoint"] = endpoint
        if table.endswith("windows"):
            values["stored_at"] = "toDateTime64(b.window_start + later_s + 12, 3, 'UTC')"
        later = _LATER.format(time=f"b.{time}", begun_s=self.begun_s, epoch=epoch, replicas=self.replicas)
        if table == "chunks":
            later = later.replace("replica_id", "partition")
        self.client.command(
            f"INSERT INTO {table} ({', '.join(values)}) WITH {later}\n"
            f"SELECT {', '.join(values.values())} FROM true_{table} AS b WHERE was_s BETWEEN 0 AND {EPOCH_S - 1}"
            f" AND {whose}",
            settings={"insert_allow_materialized_columns": 1},
        )

    def fill_older(self, table: str, span_s: int, times: int) -> None:
        """Insert what is rolled up again, so many times, each by `span_s` earlier."""
        columns = self._columns(table)
        values = {name: f"b.{name}" for name in columns}
        values["window_start"] = "b.window_start - earlier_s"
        for name, kind in columns.items():
            if name.endswith(("_buckets", "_counts")) and not name.startswith("status"):
                kept = "(each, at) -> cityHash64(at, earlier_s, window_start, replica_id) % 16 > 0"
                values[name] = f"arrayFilter({kept}, b.{name}, arrayEnumerate(b.{name}))"
            elif (kind == "UInt64" and name.endswith(("_sum_us", "_request_us"))) or name == "sum":
                values[name] = f"b.{name} * (1 + cityHash64(earlier_s, window_start) % 100 / 1000)"
        self.client.command(
            f"INSERT INTO {table} ({', '.join(values)}) SELECT {', '.join(values.values())}\n"
            f"FROM (SELECT * FROM {table} FINAL) AS b"
            f" ARRAY JOIN range({span_s}, {span_s * times + 1}, {span_s}) AS earlier_s",
            settings={"max_memory_usage": 0},
        )

    def stored_bytes(self) -> dict[str, tuple[int, float]]:
        """Return the rows of the tables of the finest level, merged, and their bytes a day of a replica."""
        tables = [*FINEST, "boots"]
        for table in tables:
            self.client.command(f"OPTIMIZE TABLE {table} FINAL")
        rows = self.client.query(STORED_BYTES, parameters={"tables": tables}).result_rows
        share = 86_400 / self.seconds / self.replicas
        # A boot is one row, however long it lives.
        return {
            table: (count, size / self.replicas if table == "boots" else size * share)
            for table, count, size in rows
        }


_TOTALS = frozenset(("arrived", "finished", "ttfb_count", "latency_sum_us", "ttfb_sum_us"))


def _renamed(rows: Iterator[Row | RowBlock]) -> Iterator[Row | RowBlock]:
    for row in rows:
        table = f"true_{row.table}"
        yield replace(row, table=table) if isinstance(row, RowBlock) else row._replace(table=table)
