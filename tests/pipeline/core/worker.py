"""A worker without Faust and ClickHouse: the fold, driven as stream_reader drives it, over a table in memory.

`Table` is a ReplacingMergeTree: for each sorting key, the row with the highest version stays, and of equal versions the
last one inserted. It also checks the fold's promise that equal versions are equal rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from tests.support.stored import each_row

from endpoint_analytics.pipeline.core.boots import Boot, BootKey
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record, StoredChunks
from endpoint_analytics.pipeline.core.partition import Bounds, Decoded, PartitionFold, fold_together
from endpoint_analytics.pipeline.core.row_block import RowBlock
from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.core.stream_folds import (
    EngineFold,
    HardwareFold,
    OutcomesFold,
    ReplicasFold,
    RequestsFold,
)
from endpoint_analytics.pipeline.store.boot_states import parse_boot

RULE, BOUNDS = ChunkRule(), Bounds()
STREAM_FOLDS = {
    "requests": RequestsFold,
    "hardware": HardwareFold,
    "engine": EngineFold,
    "outcomes": OutcomesFold,
    "replicas": ReplicasFold,
}

_BOOT = ("namespace", "endpoint", "replica_id", "boot_id")
_PLACE = ("partition", "chunk")
# table: sorting key, version column; as in schemas/tables.
TABLES = {
    "request_windows": ((*_BOOT, "window_start", *_PLACE), "version"),
    "hardware_windows": ((*_BOOT, "device", "metric", "window_start", *_PLACE), "version"),
    "engine_windows": ((*_BOOT, "device", "metric", "window_start", *_PLACE), "version"),
    "outcome_windows": (
        (*_BOOT, "window_start", "route", "model", "caller", "streamed", "input_upto", *_PLACE),
        "version",
    ),
    "request_samples": (("namespace", "endpoint", "at", *_BOOT[2:], "partition", "offset", "number"), None),
    "boot_states": (("stream", *_BOOT, *_PLACE), "version"),
    "boots": ((*_BOOT, "stream", "partition"), "version"),
    "replica_events": (("namespace", "endpoint", "replica_id", "at", "state"), "offset"),
    "endpoint_settings": (("namespace", "endpoint", "at"), "offset"),
    "rejected": (("topic", "partition", "offset"), None),
    "chunks": (("stream", *_PLACE), "version"),
}

Values = dict[str, object]
Final = dict[str, dict[tuple[object, ...], Values]]


class Table:
    """All tables, by name and sorting key."""

    def __init__(self) -> None:
        self._final: Final = {name: {} for name in TABLES}
        self._seen: dict[tuple[object, ...], Values] = {}
        self.written: list[Row | RowBlock] = []
        self.inserted: list[Row] = []

    def insert(self, rows: Iterable[Row | RowBlock]) -> None:
        rows = list(rows)
        self.written += rows
        for table, values in each_row(rows):
            self.inserted.append(Row(table, values))
            self._insert_one(table, values)
            if table == "boot_states":  # the materialized view
                self._insert_one("boots", values)

    def _insert_one(self, table: str, values: Values) -> None:
        names, version_name = TABLES[table]
        key = tuple(values[name] for name in names)
        version = values[version_name] if version_name else 0
        assert self._seen.setdefault((table, key, version), values) == values
        kept = self._final[table].get(key)
        if kept is None or version_name is None or kept[version_name] <= version:
            self._final[table][key] = values

    def final(self) -> Final:
        return self._final

    def chunks_from(self, stream: str, partition: int, offset: int) -> StoredChunks:
        """Return the stored chunks from an offset on, like store.chunks."""
        chunks = dict[tuple[int, int], int]()
        for values in (*self._final["chunks"].values(), *self._final["boots"].values()):
            chunk = values["chunk"], values["chunk_time"]
            if (values["stream"], values["partition"]) == (stream, partition) and chunk[0] >= offset:
                chunks[chunk] = max(values["version"], chunks.get(chunk, -1))
        return StoredChunks(chunks)

    def read_boots(self, stream: str, partition: int, chunk: int, wanted: Iterable[BootKey]) -> list[Boot]:
        """Return the boots as they were before `chunk`, like store.boot_states."""
        newest: dict[BootKey, Values] = {}
        for values in (*self._final["boot_states"].values(), *self._final["boots"].values()):
            if (values["stream"], values["partition"]) == (stream, partition) and values["chunk"] < chunk:
                key = BootKey(*(values[name] for name in _BOOT))
                if key not in newest or _age(newest[key]) < _age(values):
                    newest[key] = values
        return [parse_boot(_read(newest[key])) if key in newest else Boot(key) for key in wanted]


def _age(values: Values) -> tuple[object, object]:
    return values["chunk"], values["version"]


def _read(values: Values) -> Values:
    """Return a stored row as a query gives it back."""
    return {
        **values,
        "first_us": int(Decimal(values["first_at"]) * 1_000_000),
        "last_us": int(Decimal(values["last_at"]) * 1_000_000),
        "last_append_ms": int(Decimal(values["last_append"]) * 1_000),
    }


class Worker:
    """Reads a partition from the first message of a chunk on; `table` may be shared with other workers."""

    def __init__(
        self,
        stream: str,
        table: Table | None = None,
        rule: ChunkRule = RULE,
        bounds: Bounds = BOUNDS,
        partition: int = 0,
    ) -> None:
        self.table = table or Table()
        self.chunks: list[int] = []
        self.refused: dict[int, str] = {}
        self._stream = stream
        self._partition = partition
        self._fold = PartitionFold(STREAM_FOLDS[stream](), f"ea.{stream}", partition, rule, bounds)
        self._open = False

    def read(self, records: Sequence[Record]) -> None:
        for _ in self.steps(records):
            pass

    def steps(self, records: Sequence[Record]) -> Iterator[None]:
        """Read as `read` does, with a pause after each run: another worker may act there."""
        for run in self.runs(records):
            run.fold.fold(run.records, run.messages)
            yield

    def runs(self, records: Sequence[Record]) -> Iterator[Decoded[Any]]:
        """Yield the runs of records, each ready to be folded before the next one is asked for."""
        fold = self._fold
        if not self._open and records:
            fold.stored = self.table.chunks_from(self._stream, self._partition, records[0].offset)
        for begins, run in fold.runs(records):
            if begins:
                self.close()
                fold.open(run[0])
                self._open = True
                self.chunks.append(fold.chunk)
            decoded = fold.decode(run)
            while unknown := fold.unknown(decoded):
                wanted = sorted(unknown)
                fold.restore(self.table.read_boots(self._stream, self._partition, fold.chunk, wanted))
            yield Decoded(fold, run, decoded)

    def close(self) -> None:
        """Store the changes as the reader does when a chunk closes."""
        self.flush(closing=True)

    def flush(self, *, closing: bool = False) -> None:
        """Store the changes, as the reader does when they are due."""
        if not self._open:
            return
        rejected, rows = self._fold.take_rejected()
        self.refused.update({rejection.record.offset: rejection.error.reason for rejection in rejected})
        self.table.insert([*self._fold.take_rows(closing=closing), *rows])


def read_together(reads: Sequence[tuple[Worker, Sequence[Record]]]) -> None:
    """Read the records of several partitions, the first run of each together, then the second of each, and so on."""
    runs = [worker.runs(records) for worker, records in reads]
    while found := [run for each in runs if (run := next(each, None)) is not None]:
        fold_together(found)
