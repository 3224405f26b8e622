"""A thread that takes samples at a fixed interval and passes each on with its interval. Generic over the sample type.

It is a separate thread because taking a sample may block, in a driver or on the network.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from endpoint_analytics.agents.core.clamp import interval_in_range
from endpoint_analytics.agents.core.clock import now_ns, read_offset_us, steady_offset_us

Sample = TypeVar("Sample")


class Interval(NamedTuple):
    """The interval that ends with a sample, in microseconds since 1970; `seq` numbers the intervals of a boot."""

    seq: int
    start_us: int
    end_us: int

    @property
    def length_us(self) -> int:
        """Its length."""
        return self.end_us - self.start_us


class SamplingThread(Generic[Sample]):
    """Calls `take` every `every_s` seconds and passes its sample to `post`; `stop()` ends it without waiting.

    `take` gets the current time in monotonic nanoseconds. If it returns None there is no sample, and the next sample's
    interval is empty. `take` is not called while `may_sample` returns False. A RuntimeError from `post` means that the
    receiver is gone, and ends the thread.
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
        """Stop sampling; a hung call is left to the daemon thread."""
        self._stopped.set()

    def _run(self) -> None:
        seq, offset_us = 0, read_offset_us()
        previous_ns: int | None = now_ns()
        while not self._stopped.is_set():
            at_ns = now_ns()
            sample = self._take(at_ns) if self._may_sample() else None
            if sample is None:
                previous_ns = None
            else:
                offset_us = steady_offset_us(offset_us, read_offset_us())
                start_ns = at_ns if previous_ns is None else previous_ns
                interval = Interval(seq, *interval_in_range(start_ns, at_ns, offset_us))
                try:
                    self._post(interval, sample)
                except RuntimeError:  # the agent's loop is closed: it has stopped
                    return
                seq, previous_ns = seq + 1, at_ns
            self._stopped.wait(max(self._every_s - (now_ns() - at_ns) / 1e9, 0.0))
