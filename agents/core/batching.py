"""Batching: turns recorder snapshots into request batches and carries levels and totals from one to the next.

Stateful, but otherwise pure: no clock, no I/O, no threads. Invariants: a level never goes below zero, offsets lie
within the interval, and arrived = finished + aborted + active after every batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from endpoint_analytics.agents.core.clamp import (
    durations_in_range,
    interval_in_range,
    status_in_range,
    totals_in_range,
)
from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.recorder import RecordedRequest, Snapshot
from endpoint_analytics.schemas.limits import MAX_DURATION_US, MAX_EVENTS, MAX_LEVEL
from endpoint_analytics.schemas.requests import (
    Aborted,
    Arrived,
    Finished,
    Informational,
    RequestBatch,
    Responded,
    Totals,
)


class Batcher:
    """Makes the batches of one boot of one replica, each of at most `max_events` rows."""

    def __init__(self, config: AgentConfig, boot_id: str, max_events: int = MAX_EVENTS) -> None:
        self._config = config
        self._boot_id = boot_id
        self._max_events = max_events
        self._seq = 0
        self._pending: dict[RecordedRequest, None] = {}  # in order of arrival
        self._streaming = 0
        self._arrived = self._finished = self._aborted_pending = self._aborted_streaming = 0
        self._wait_us = self._duration_us = 0
        self._status: dict[str, int] = {}

    @property
    def active(self) -> int:
        """Number of requests pending or streaming after the last batch."""
        return len(self._pending) + self._streaming

    def batches(
        self,
        snapshot: Snapshot,
        offset_us: int,
        dropped: Mapping[str, int],
        dropped_batches: Mapping[str, int],
    ) -> Iterator[RequestBatch]:
        """Yield the snapshot as one batch, or as several with consecutive intervals if it has too many rows.

        `offset_us` converts the snapshot's clock to wall-clock time; the drop counts go into the totals unchanged.
        """
        for part in split(snapshot, self._max_events):
            yield self._batch(part, offset_us, dict(dropped), dict(dropped_batches))

    def _batch(
        self, snapshot: Snapshot, offset_us: int, dropped: dict[str, int], dropped_batches: dict[str, int]
    ) -> RequestBatch:
        start_ns = snapshot.start_ns
        start_us, end_us = interval_in_range(start_ns, snapshot.end_ns, offset_us)
        length_us = end_us - start_us
        pending, streaming = min(len(self._pending), MAX_LEVEL), min(self._streaming, MAX_LEVEL)
        responded = Responded(
            at_us=_offsets([request.responded_ns for request in snapshot.responded], start_ns, length_us),
            wait_us=durations_in_range((r.responded_ns - r.arrived_ns) // 1_000 for r in snapshot.responded),
            status=[status_in_range(request.status) for request in snapshot.responded],
        )
        finished = Finished(
            at_us=_offsets([request.ended_ns for request in snapshot.finished], start_ns, length_us),
            duration_us=durations_in_range((r.ended_ns - r.arrived_ns) // 1_000 for r in snapshot.finished),
            status=[status_in_range(request.status) for request in snapshot.finished],
        )
        informational = Informational(
            at_us=_offsets([at_ns for at_ns, _ in snapshot.informational], start_ns, length_us),
            status=[status_in_range(status) for _, status in snapshot.informational],
        )
        self._count(snapshot, responded, finished, informational)
        seq, self._seq = self._seq, self._seq + 1
        return RequestBatch(
            namespace=self._config.namespace,
            endpoint=self._config.endpoint,
            replica_id=self._config.replica_id,
            boot_id=self._boot_id,
            seq=seq,
            start_us=start_us,
            end_us=end_us,
            pending=pending,
            streaming=streaming,
            oldest_pending_us=self._oldest_pending_us(snapshot.end_ns),
            arrived=Arrived(at_us=_offsets([r.arrived_ns for r in snapshot.arrived], start_ns, length_us)),
            informational=informational,
            responded=responded,
            finished=finished,
            aborted_pending=_aborted(snapshot.aborted_pending, start_ns, length_us),
            aborted_streaming=_aborted(snapshot.aborted_streaming, start_ns, length_us),
            totals=self._totals(dropped, dropped_batches),
        )

    def _count(
        self, snapshot: Snapshot, responded: Responded, finished: Finished, informational: Informational
    ) -> None:
        pending = self._pending
        pending.update(dict.fromkeys(snapshot.arrived))
        for request in snapshot.responded:
            del pending[request]
        for request in snapshot.aborted_pending:
            del pending[request]
        self._streaming += len(snapshot.responded) - len(snapshot.finished) - len(snapshot.aborted_streaming)
        self._arrived += len(snapshot.arrived)
        self._finished += len(snapshot.finished)
        self._aborted_pending += len(snapshot.aborted_pending)
        self._aborted_streaming += len(snapshot.aborted_streaming)
        self._wait_us += sum(responded.wait_us)
        self._duration_us += sum(finished.duration_us)
        for statuses in (responded.status, informational.status):
            for status in statuses:
                name = str(status)
                self._status[name] = self._status.get(name, 0) + 1

    def _oldest_pending_us(self, end_ns: int) -> int:
        for request in islice(self._pending, 1):
            return min(max((end_ns - request.arrived_ns) // 1_000, 0), MAX_DURATION_US)
        return 0

    def _totals(self, dropped: dict[str, int], dropped_batches: dict[str, int]) -> Totals:
        return totals_in_range(
            Totals(
                arrived=self._arrived,
                finished=self._finished,
                aborted_pending=self._aborted_pending,
                aborted_streaming=self._aborted_streaming,
                status=self._status,
                wait_us=self._wait_us,
                duration_us=self._duration_us,
                dropped=dropped,
                dropped_batches=dropped_batches,
            )
        )


def split(snapshot: Snapshot, max_events: int) -> Iterator[Snapshot]:
    """Yield the snapshot in parts of at most `max_events` rows, ordered by time, then by request phase.

    The parts' intervals are consecutive and cover the whole snapshot; one that fits is yielded unchanged.
    """
    rows = (
        len(snapshot.arrived)
        + len(snapshot.informational)
        + len(snapshot.responded)
        + len(snapshot.finished)
        + len(snapshot.aborted_pending)
        + len(snapshot.aborted_streaming)
    )
    if rows <= max_events:
        yield snapshot
        return

    def clamp(at_ns: int) -> int:
        return min(max(at_ns, snapshot.start_ns), snapshot.end_ns)

    events: list[tuple[int, int, RecordedRequest | tuple[int, int]]] = [
        *((clamp(r.arrived_ns), 0, r) for r in snapshot.arrived),
        *((clamp(row[0]), 1, row) for row in snapshot.informational),
        *((clamp(r.responded_ns), 2, r) for r in snapshot.responded),
        *((clamp(r.ended_ns), 3, r) for r in snapshot.finished),
        *((clamp(r.ended_ns), 4, r) for r in snapshot.aborted_pending),
        *((clamp(r.ended_ns), 5, r) for r in snapshot.aborted_streaming),
    ]
    events.sort(key=lambda event: event[:2])
    start_ns = snapshot.start_ns
    for first in range(0, rows, max_events):
        part = events[first : first + max_events]
        end_ns = part[-1][0] if first + max_events < rows else snapshot.end_ns
        columns: tuple[list[object], ...] = ([], [], [], [], [], [])
        for _, phase, row in part:
            columns[phase].append(row)
        yield Snapshot(start_ns, end_ns, *columns)  # type: ignore[arg-type]  # each column holds its own row type
        start_ns = end_ns


def _offsets(times_ns: list[int], start_ns: int, length_us: int) -> list[int]:
    return [0 if (at_us := (at_ns - start_ns) // 1_000) < 0 else min(at_us, length_us) for at_ns in times_ns]


def _aborted(requests: list[RecordedRequest], start_ns: int, length_us: int) -> Aborted:
    return Aborted(
        at_us=_offsets([request.ended_ns for request in requests], start_ns, length_us),
        age_us=durations_in_range((request.ended_ns - request.arrived_ns) // 1_000 for request in requests),
    )
