"""What the worker's fold makes of an agent's messages, for tests that compare it with the agent's own totals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.support.stored import each_row

from endpoint_analytics.pipeline.core.boots import Boot
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.partition import Bounds, PartitionFold
from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.core.stream_folds import RequestsFold
from endpoint_analytics.schemas.requests import RequestBatch, Totals

SUMS = ("arrived", "finished", "aborted_pending", "aborted_streaming", "wait_us", "duration_us")


@dataclass(slots=True)
class Stored:
    """The rows of a log: all windows', each boot's last, and the offsets of rejected messages."""

    windows: list[dict] = field(default_factory=list)
    boots: dict[str, dict] = field(default_factory=dict)
    rejected: dict[int, str] = field(default_factory=dict)

    def boot_totals(self, boot_id: str) -> Totals:
        """What the boot's batches added up to."""
        row = self.boots[boot_id]
        return Totals(
            arrived=row["arrived"],
            finished=row["finished"],
            aborted_pending=row["aborted_pending"],
            aborted_streaming=row["aborted_streaming"],
            status=dict(zip(map(str, row["status_codes"]), row["status_counts"], strict=True)),
            wait_us=row["ttfb_sum_us"],
            duration_us=row["latency_sum_us"],
        )

    def window_totals(self) -> Totals:
        """What the windows add up to."""
        status: dict[str, int] = {}
        for row in self.windows:
            for code, count in zip(row["status_codes"], row["status_counts"], strict=True):
                status[str(code)] = status.get(str(code), 0) + count
        sums = {name: sum(row[name] for row in self.windows) for name in SUMS[:4]}
        return Totals(
            **sums,
            status=status,
            wait_us=sum(row["ttfb_sum_us"] for row in self.windows),
            duration_us=sum(row["latency_sum_us"] for row in self.windows),
        )


def fold(log: Sequence[tuple[int, bytes]]) -> Stored:
    """Fold messages, each with its append time in milliseconds."""
    stored = Stored()
    partition = PartitionFold(RequestsFold(), "requests", 0, ChunkRule(), Bounds())
    records = [Record(offset, append_ms, value) for offset, (append_ms, value) in enumerate(log)]
    for begins, run in partition.runs(records):
        if begins:
            if partition.is_open:
                _take(partition, stored)
            partition.open(run[0])
        decoded = partition.decode(run)
        partition.restore([Boot(key) for key in partition.unknown(decoded)])
        partition.fold(run, decoded)
    if partition.is_open:
        _take(partition, stored)
    return stored


def _take(partition: PartitionFold[RequestBatch], stored: Stored) -> None:
    for row in each_row(partition.take_rows(closing=True)):
        _keep(row, stored)
    for rejection in partition.take_rejected()[0]:
        stored.rejected[rejection.record.offset] = rejection.error.reason


def _keep(row: Row, stored: Stored) -> None:
    if row.table == "request_windows":
        stored.windows.append(row.values)
    elif row.table == "boot_states":
        stored.boots[str(row.values["boot_id"])] = row.values


def content(batches: Iterable[RequestBatch]) -> Totals:
    """Return what is in these batches themselves."""
    sums = dict.fromkeys(SUMS, 0)
    status: dict[str, int] = {}
    for batch in batches:
        for name in SUMS[:4]:
            sums[name] += len(getattr(batch, name).at_us)
        sums["wait_us"] += sum(batch.responded.wait_us)
        sums["duration_us"] += sum(batch.finished.duration_us)
        for code in batch.responded.status + batch.informational.status:
            status[str(code)] = status.get(str(code), 0) + 1
    return Totals(**sums, status=status)


def less(totals: Totals, lost: Totals) -> Totals:
    """Return the difference, without what is zero in it and without the counts of drops."""
    status = {code: n for code, count in totals.status.items() if (n := count - lost.status.get(code, 0))}
    return Totals(**{name: getattr(totals, name) - getattr(lost, name) for name in SUMS}, status=status)
