"""The recorder: collects request events, in lifecycle order, from every capture method.

Nothing here waits, locks or does I/O. The request path appends to lists, which is atomic under the GIL; only the
agent's thread takes snapshots. The batcher (batching.py) turns snapshots into messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from endpoint_analytics.agents.core.clock import now_ns

Row = TypeVar("Row")
Headers = Iterable[tuple[bytes, bytes]]

PENDING, STREAMING, ENDED = 0, 1, 2


class RecordedRequest:
    """One request: call `respond(status)` once its status is sent, then `finish()`; or `abort()` at any time.

    Calls out of order do nothing: an ended request does not change. Times are monotonic nanoseconds.
    """

    __slots__ = (
        "_recorder",
        "arrived_ns",
        "details",
        "ended_ns",
        "headers",
        "responded_ns",
        "stage",
        "status",
    )

    def __init__(self, recorder: Recorder, arrived_ns: int, stage: int = PENDING) -> None:
        self._recorder = recorder
        self.arrived_ns = arrived_ns
        self.stage = stage
        self.details: object | None = None
        """What else is known of it; set before it ends, where it is asked for."""
        self.headers: Headers | None = None
        """Those that it came with: if it is sampled, its identifiers are looked up."""
        # responded_ns, status and ended_ns are set once known: three fewer stores per request.

    def respond_interim(self, status: int) -> None:
        """An interim status (1xx) was sent; the request stays pending."""
        if self.stage == PENDING:
            recorder = self._recorder
            if len(recorder.informational) < recorder.limit:
                recorder.informational.append((recorder.clock(), status))
            else:
                next(recorder.informational_lost)

    def respond(self, status: int) -> None:
        """The final status was sent, just now."""
        if self.stage == PENDING:
            recorder = self._recorder
            self.stage = STREAMING
            self.status = status
            self.responded_ns = recorder.clock()
            recorder.responded.append(self)

    def finish(self) -> None:
        """The last byte was sent, just now. A request without a status is aborted instead."""
        if self.stage == STREAMING:
            recorder = self._recorder
            self.stage = ENDED
            self.ended_ns = recorder.clock()
            recorder.finished.append(self)
        elif self.stage == PENDING:
            self.abort()

    def abort(self) -> None:
        """The request ended early: it counts at the stage it had reached."""
        stage = self.stage
        if stage != ENDED:
            recorder = self._recorder
            self.stage = ENDED
            self.ended_ns = recorder.clock()
            (recorder.aborted_streaming if stage else recorder.aborted_pending).append(self)

    def give_up(self) -> None:
        """Stop recording the request: abort it if possible. Raises nothing."""
        try:
            self.abort()
        except Exception:  # noqa: BLE001  # a bug here must not reach the application
            self.stage = ENDED


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything recorded since the previous snapshot, `start_ns` to `end_ns` on the monotonic clock.

    A response is never in an earlier snapshot than its arrival. An event's time may be slightly before `start_ns`, if
    it was being recorded while the previous snapshot was taken.
    """

    start_ns: int
    end_ns: int
    arrived: list[RecordedRequest]
    informational: list[tuple[int, int]]
    responded: list[RecordedRequest]
    finished: list[RecordedRequest]
    aborted_pending: list[RecordedRequest]
    aborted_streaming: list[RecordedRequest]


class Recorder:
    """Records requests; `arrive()` starts one. At most `limit` arrivals wait for a snapshot.

    Any thread may record; one thread at a time may call `snapshot()`.
    """

    __slots__ = (
        "_last_snapshot_ns",
        "_skipped",
        "aborted_pending",
        "aborted_streaming",
        "arrived",
        "clock",
        "finished",
        "informational",
        "informational_lost",
        "limit",
        "requests_lost",
        "responded",
    )

    def __init__(self, limit: int = 20_000, clock: Callable[[], int] = now_ns) -> None:
        self.limit = limit
        self.clock = clock
        self.arrived: list[RecordedRequest] = []
        self.informational: list[tuple[int, int]] = []
        self.responded: list[RecordedRequest] = []
        self.finished: list[RecordedRequest] = []
        self.aborted_pending: list[RecordedRequest] = []
        self.aborted_streaming: list[RecordedRequest] = []
        # itertools.count takes one C call, so threads can share the counter without a lock.
        self.requests_lost = count()
        self.informational_lost = count()
        self._skipped = RecordedRequest(self, 0, ENDED)
        self._last_snapshot_ns = clock()

    def arrive(self) -> RecordedRequest:
        """A request arrived, just now. If the recorder is full, the request is counted as dropped and its
        later phases are not recorded."""
        arrived = self.arrived
        if len(arrived) >= self.limit:
            next(self.requests_lost)
            return self._skipped
        request = RecordedRequest(self, self.clock())
        arrived.append(request)
        return request

    def pass_over(self) -> RecordedRequest:
        """Return a request that is not recorded: calls on it do nothing."""
        return self._skipped

    def snapshot(self) -> Snapshot:
        """Remove and return everything recorded so far.

        Lengths are read in reverse lifecycle order, so that no phase is taken without the phases before it; the clock
        is read last.
        """
        finished = len(self.finished)
        aborted_streaming = len(self.aborted_streaming)
        aborted_pending = len(self.aborted_pending)
        responded = len(self.responded)
        informational = len(self.informational)
        arrived = len(self.arrived)
        end_ns = self.clock()
        start_ns, self._last_snapshot_ns = self._last_snapshot_ns, end_ns
        return Snapshot(
            start_ns=start_ns,
            end_ns=end_ns,
            arrived=_take(self.arrived, arrived),
            informational=_take(self.informational, informational),
            responded=_take(self.responded, responded),
            finished=_take(self.finished, finished),
            aborted_pending=_take(self.aborted_pending, aborted_pending),
            aborted_streaming=_take(self.aborted_streaming, aborted_streaming),
        )

    def read_dropped(self) -> dict[str, int]:
        """Return how many events were dropped since the start, by reason."""
        counts = {
            "recorder_full": _value(self.requests_lost),
            "informational_full": _value(self.informational_lost),
        }
        return {reason: number for reason, number in counts.items() if number}


def _take(rows: list[Row], length: int) -> list[Row]:
    taken = rows[:length]
    del rows[:length]
    return taken


def _value(counter: count[int]) -> int:
    """Return the counter's next value without advancing it: its repr is `count(n)`."""
    return int(repr(counter)[6:-1])
