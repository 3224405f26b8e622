"""Turns finished requests into batches without losing any. Pure: `now_us` and the reader's state are arguments.

An access log reports a request when it ends, so a batch covers the requests that ended in it: they also arrive in it,
and it starts and ends with none pending. If a request arrived before the end of the previous batch, the intervals
overlap: request time adds up over batches, so the means of pending and streaming are right once requests have ended.
How many requests are pending now is not in a log, so it is always 0.

A line without a duration counts only its status, in the column for statuses without a request lifecycle
(`informational`): invented durations would distort every quantile. So does a 101, whose duration is the tunnel's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from endpoint_analytics.agents.core.clamp import (
    durations_in_range,
    status_in_range,
    time_in_range,
    totals_in_range,
)
from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.log.logged import Logged
from endpoint_analytics.schemas.limits import MAX_INTERVAL_US, MIN_TIME_US
from endpoint_analytics.schemas.requests import (
    Aborted,
    Arrived,
    Finished,
    Informational,
    RequestBatch,
    Responded,
    Totals,
)

_Offset = Callable[[int], int]

SWITCHED = 101

MAX_REQUESTS = 10_000
"""Most requests in one batch, at most three rows each. This stays below 1 MB, the limit of many brokers."""
MAX_SPAN_US = MAX_INTERVAL_US - 60_000_000
OLDEST_US = 47 * 3_600 * 1_000_000
"""Older lines are not sent: the worker rejects anything more than two days late."""


class ReaderState(msgspec.Struct, frozen=True):
    """What the next batch needs: the boot, its next sequence number, the end of its last batch, its totals."""

    boot_id: str
    next_seq: int = 0
    end_us: int = 0
    totals: Totals = Totals()


def take(requests: Sequence[Logged], now_us: int) -> int:
    """Return how many of the requests, in log order, fit in one batch."""
    now_us = time_in_range(now_us)
    least_us = most_us = None
    for number, request in enumerate(requests[:MAX_REQUESTS]):
        end_us = _end_us(request, now_us)
        if end_us < now_us - OLDEST_US:
            continue
        least_us = end_us if least_us is None else min(least_us, end_us)
        most_us = end_us if most_us is None else max(most_us, end_us)
        if most_us - least_us > MAX_SPAN_US:
            return number
    return min(len(requests), MAX_REQUESTS)


def next_batch(
    config: AgentConfig,
    state: ReaderState,
    requests: Sequence[Logged],
    dropped: Mapping[str, int],
    now_us: int,
) -> tuple[RequestBatch, ReaderState]:
    """Return a batch of the requests (as many as `take` allows; none for a heartbeat), and the state after it.

    `dropped` counts lines that could not be counted as requests, by reason; it is added to the totals.
    """
    now_us = time_in_range(now_us)
    kept = [request for request in requests if _end_us(request, now_us) >= now_us - OLDEST_US]
    start_us, end_us = _interval(state, kept, now_us)
    length_us = end_us - start_us

    def offset(at_us: int) -> int:
        return min(max(at_us - start_us, 0), length_us)

    columns = _Columns()
    for request in kept:
        columns.add(request, _end_us(request, now_us), offset)
    lost = dict(dropped)
    if len(kept) < len(requests):
        lost["too_old"] = lost.get("too_old", 0) + len(requests) - len(kept)
    batch = columns.batch(config, state, start_us, end_us, lost)
    return batch, ReaderState(state.boot_id, state.next_seq + 1, end_us, batch.totals)


class _Columns:
    """The rows of one batch."""

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self.informational: tuple[list[int], list[int]] = ([], [])
        self.responded: tuple[list[int], list[int], list[int]] = ([], [], [])
        self.finished: tuple[list[int], list[int], list[int]] = ([], [], [])
        self.aborted_pending: tuple[list[int], list[int]] = ([], [])
        self.aborted_streaming: tuple[list[int], list[int]] = ([], [])

    def add(self, request: Logged, end_us: int, offset: _Offset) -> None:
        status, duration_us = request.status, request.duration_us
        if status is not None:
            status = status_in_range(status)
        if status is not None and (duration_us is None or status == SWITCHED):
            _append(self.informational, offset(end_us), status)
            return
        wait_us = duration_us if request.wait_us is None else request.wait_us
        duration_us, wait_us = durations_in_range([duration_us or 0, wait_us or 0])
        wait_us = min(wait_us, duration_us)
        start_us, ended = end_us - duration_us, offset(end_us)
        self.arrived.append(offset(start_us))
        if status is None:
            _append(self.aborted_pending, ended, duration_us)
            return
        _append(self.responded, offset(start_us + wait_us), wait_us, status)
        if request.is_aborted:
            _append(self.aborted_streaming, ended, duration_us)
        else:
            _append(self.finished, ended, duration_us, status)

    def batch(
        self, config: AgentConfig, state: ReaderState, start_us: int, end_us: int, dropped: Mapping[str, int]
    ) -> RequestBatch:
        return RequestBatch(
            namespace=config.namespace,
            endpoint=config.endpoint,
            replica_id=config.replica_id,
            boot_id=state.boot_id,
            seq=state.next_seq,
            start_us=start_us,
            end_us=end_us,
            pending=0,
            streaming=0,
            arrived=Arrived(self.arrived),
            informational=Informational(*self.informational),
            responded=Responded(*self.responded),
            finished=Finished(*self.finished),
            aborted_pending=Aborted(*self.aborted_pending),
            aborted_streaming=Aborted(*self.aborted_streaming),
            totals=self._totals(state.totals, dropped),
        )

    def _totals(self, before: Totals, dropped: Mapping[str, int]) -> Totals:
        status = dict(before.status)
        for code in self.responded[2] + self.informational[1]:
            status[str(code)] = status.get(str(code), 0) + 1
        lost = dict(before.dropped)
        for reason, number in dropped.items():
            lost[reason] = lost.get(reason, 0) + number
        counted = Totals(
            arrived=before.arrived + len(self.arrived),
            finished=before.finished + len(self.finished[0]),
            aborted_pending=before.aborted_pending + len(self.aborted_pending[0]),
            aborted_streaming=before.aborted_streaming + len(self.aborted_streaming[0]),
            status=status,
            wait_us=before.wait_us + sum(self.responded[1]),
            duration_us=before.duration_us + sum(self.finished[1]),
            dropped=lost,
            dropped_batches=before.dropped_batches,
        )
        return totals_in_range(counted)


def _append(columns: tuple[list[int], ...], *values: int) -> None:
    for column, value in zip(columns, values, strict=True):
        column.append(value)


def _end_us(request: Logged, now_us: int) -> int:
    """Return when the request ended; now, if the line has no timestamp, or one in the future."""
    return now_us if request.end_us is None else min(request.end_us, now_us)


def _interval(state: ReaderState, requests: Sequence[Logged], now_us: int) -> tuple[int, int]:
    """Return an interval that covers every end, and as many arrivals as possible."""
    ends_us = [_end_us(request, now_us) for request in requests]
    end_us = now_us
    if ends_us and now_us - min(ends_us) > MAX_INTERVAL_US:
        end_us = time_in_range(max(ends_us))  # old lines, read late
    arrivals_us = [
        at_us - (request.duration_us or 0) for at_us, request in zip(ends_us, requests, strict=True)
    ]
    before_us = [state.end_us] if 0 < state.end_us <= end_us else []
    start_us = min([end_us, *arrivals_us, *before_us])
    return max(start_us, end_us - MAX_INTERVAL_US, MIN_TIME_US), end_us
