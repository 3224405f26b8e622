"""A thread that takes a sample at a steady pace and hands on where it lies in time. What is sampled is no matter.

In a thread of its own, since taking a sample may block: in a driver, or on the network.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from endpoint_analytics.agents.core.clock import now_ns, read_offset_us, steady_offset_us
from endpoint_analytics.agents.core.in_range import interval_in_range

Sample = TypeVar("Sample")


class Interval(NamedTuple):
    """The interval at whose end a sample was taken, in microseconds since 1970; `seq` counts those of a boot."""

    seq: int
    start_us: int
    end_us: int

    @property
    def length_us(self) -> int:
        """How long it was."""
        return self.end_us - self.start_us


class SamplingThread(Generic[Sample]):
    """Calls `take` each `every_s` and `post` with what it gave; `stop()` ends it without waiting.

    `take` gets the moment in nanoseconds of the monotonic clock. When it gives None there is no sample: the next
    one's interval begins with itself. While `may_sample` says no it is not called. A RuntimeError of `post` says
    that nobody is there any more.
    """

    def __init__(
        self,
        name: str,
        take: Callable[[int], Sample | None],
        post: Callable[[Interval, Sample], None],
        every_s: float,
        may_sample: Callable[[], bool] = lambda: True,
    ) -> None:
        self._take = take
        self._post = post
        self._every_s = every_s
        self._may_sample = may_sample
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start sampling."""
        self._thread.start()

    def stop(self) -> None:
        """Sample no more; a call that hangs is left to the daemon thread."""
        self._stopped.set()

    def _run(self) -> None:
        seq, offset_us = 0, read_offset_us()
        before_ns: int | None = now_ns()
        while not self._stopped.is_set():
            at_ns = now_ns()
            sample = self._take(at_ns) if self._may_sample() else None
            if sample is None:
                before_ns = None
            else:
                offset_us = steady_offset_us(offset_us, read_offset_us())
                start_ns = at_ns if before_ns is None else before_ns
                interval = Interval(seq, *interval_in_range(start_ns, at_ns, offset_us))
                try:
                    self._post(interval, sample)
                except RuntimeError:  # the agent's loop is closed: it has stopped
                    return
                seq, before_ns = seq + 1, at_ns
            self._stopped.wait(max(self._every_s - (now_ns() - at_ns) / 1e9, 0.0))
