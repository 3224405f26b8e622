"""One boot of a replica: requests that arrive, wait, stream and end, and the correct batches that report them.

Pure: time is an argument, and randomness comes from the given rng. Counts are conserved: after each batch,
arrived = finished + aborted + active, and pending requests carry over to the next batch.
"""

from __future__ import annotations

import copy
import heapq
import random
from itertools import accumulate

from endpoint_analytics.infra.fleet.config import FleetConfig
from endpoint_analytics.infra.fleet.truth import BootName, Counts, OutcomeCounts
from endpoint_analytics.schemas.requests import (
    Aborted,
    Arrived,
    Finished,
    Informational,
    RequestBatch,
    Responded,
)

_RESPOND, _FINISH, _ABORT_PENDING, _ABORT_STREAMING, _INFORM = range(5)
_Event = tuple[int, int, int, int, int]  # time, request number, kind, arrival time, status
_EARLY_HINTS = 103


class SimulatedBoot:
    """One run of a replica's agent, starting at `start_us` on its own clock."""

    def __init__(self, name: BootName, config: FleetConfig, rng: random.Random, start_us: int) -> None:
        self.name = name
        self.seq = 0
        self.end_us = start_us
        self.skew_us = 0
        self.total = Counts()
        self.outcomes = OutcomeCounts()
        """The total of its outcome batches."""
        self._config = config
        self._rng = rng
        self._statuses = list(config.statuses)
        self._weights = list(accumulate(config.statuses.values()))
        self._number = 0
        self._next_us = start_us + self._pause_us()
        self._events: list[_Event] = []
        self._pending: dict[int, int] = {}  # request number -> arrival time, in order of arrival
        self._streaming = 0

    def copy(self, rng: random.Random, number: int) -> SimulatedBoot:
        """Return a copy, as if the process were restored from a snapshot: the same state, its own randomness.

        `number` must differ for each copy of a replica.
        """
        other = copy.copy(self)
        other.total = copy.deepcopy(self.total)
        other.outcomes = copy.copy(self.outcomes)
        other._events = list(self._events)  # noqa: SLF001 - same class
        other._pending = dict(self._pending)  # noqa: SLF001
        other._rng = rng  # noqa: SLF001
        # Two processes never end an interval in the same microsecond.
        other.skew_us = number % 10 * 20_000 + rng.randrange(1, 20_000)
        return other

    def batch(self, end_us: int) -> tuple[RequestBatch, Counts]:
        """Return the batch of everything that happens before `end_us`, and its counts."""
        start_us, self.end_us = self.end_us, max(end_us + self.skew_us, self.end_us)
        pending, streaming = len(self._pending), self._streaming
        columns = _Columns(start_us)
        while True:
            due_us = self._events[0][0] if self._events else self.end_us
            if self._next_us < self.end_us and self._next_us <= due_us:
                self._arrive(columns)
            elif due_us < self.end_us:
                self._play(heapq.heappop(self._events), columns)
            else:
                break
        counts = columns.counts
        self.total.add(counts)
        seq, self.seq = self.seq, self.seq + 1
        oldest_us = next(iter(self._pending.values()), self.end_us)
        name = self.name
        batch = RequestBatch(
            namespace=name.namespace,
            endpoint=name.endpoint,
            replica_id=name.replica_id,
            boot_id=name.boot_id,
            seq=seq,
            start_us=start_us,
            end_us=self.end_us,
            pending=pending,
            streaming=streaming,
            oldest_pending_us=self.end_us - oldest_us,
            arrived=Arrived(columns.arrived),
            informational=Informational(columns.informed, [_EARLY_HINTS] * len(columns.informed)),
            responded=Responded(columns.responded, columns.wait_us, columns.responded_status),
            finished=Finished(columns.finished, columns.duration_us, columns.finished_status),
            aborted_pending=Aborted(columns.aborted_pending, columns.pending_age_us),
            aborted_streaming=Aborted(columns.aborted_streaming, columns.streaming_age_us),
            totals=self.total.totals(),
        )
        counts.events = batch.events
        return batch, counts

    def _pause_us(self) -> int:
        return int(self._rng.expovariate(self._config.rate) * 1e6)

    def _arrive(self, columns: _Columns) -> None:
        """Let a request arrive, and draw its whole life in advance."""
        rng, config, now_us = self._rng, self._config, self._next_us
        self._next_us += self._pause_us()
        number, self._number = self._number, self._number + 1
        self._pending[number] = now_us
        columns.arrived.append(now_us - columns.start_us)
        columns.counts.arrived += 1
        columns.counts.see("arrived", now_us)
        duration_us = config.latency.draw_us(rng)
        wait_us = int(duration_us * config.first_byte_share)
        status = rng.choices(self._statuses, cum_weights=self._weights)[0]
        chance = rng.random()
        push, events = heapq.heappush, self._events
        if chance < config.abort_pending:
            push(events, (now_us + wait_us, number, _ABORT_PENDING, now_us, 0))
            return
        if config.informational and rng.random() < config.informational:
            push(events, (now_us + wait_us // 2, number, _INFORM, now_us, _EARLY_HINTS))
        # At equal times the response precedes the end: _RESPOND is the smallest kind.
        push(events, (now_us + wait_us, number, _RESPOND, now_us, status))
        ends = _ABORT_STREAMING if chance < config.abort_pending + config.abort_streaming else _FINISH
        push(events, (now_us + duration_us, number, ends, now_us, status))

    def _play(self, event: _Event, columns: _Columns) -> None:
        now_us, number, kind, arrived_us, status = event
        at_us, age_us, counts = now_us - columns.start_us, now_us - arrived_us, columns.counts
        if kind == _RESPOND:
            del self._pending[number]
            self._streaming += 1
            columns.responded.append(at_us)
            columns.wait_us.append(age_us)
            columns.responded_status.append(status)
            counts.wait_us += age_us
            counts.status[str(status)] += 1
        elif kind == _FINISH:
            self._streaming -= 1
            columns.finished.append(at_us)
            columns.duration_us.append(age_us)
            columns.finished_status.append(status)
            counts.finished += 1
            counts.duration_us += age_us
            counts.see("finished", now_us)
        elif kind == _ABORT_PENDING:
            del self._pending[number]
            columns.aborted_pending.append(at_us)
            columns.pending_age_us.append(age_us)
            counts.aborted_pending += 1
            counts.see("aborted_pending", now_us)
        elif kind == _ABORT_STREAMING:
            self._streaming -= 1
            columns.aborted_streaming.append(at_us)
            columns.streaming_age_us.append(age_us)
            counts.aborted_streaming += 1
            counts.see("aborted_streaming", now_us)
        else:
            columns.informed.append(at_us)
            counts.status[str(status)] += 1


class _Columns:
    """The columns of a batch that starts at `start_us`, while they fill."""

    def __init__(self, start_us: int) -> None:
        self.start_us = start_us
        self.counts = Counts()
        self.arrived: list[int] = []
        self.informed: list[int] = []
        self.responded: list[int] = []
        self.wait_us: list[int] = []
        self.responded_status: list[int] = []
        self.finished: list[int] = []
        self.duration_us: list[int] = []
        self.finished_status: list[int] = []
        self.aborted_pending: list[int] = []
        self.pending_age_us: list[int] = []
        self.aborted_streaming: list[int] = []
        self.streaming_age_us: list[int] = []
