"""When the parts of an answer were sent: first, last, and the gaps between. Pure: the times are arguments."""

from __future__ import annotations

from endpoint_analytics.schemas.sketch_buckets import bucket_of_us


class ContentTimes:
    """Takes the monotonic time of each event with content, in their order.

    `gaps` counts the gaps between successive events by bucket (schemas/sketch_buckets), rounded down to microseconds. A
    gap that is negative, of a clock that went back, counts as 0.
    """

    __slots__ = ("_last_ns", "_max_gap_ns", "events", "first_ns", "gaps")

    def __init__(self) -> None:
        self.events = 0
        self.first_ns: int | None = None
        self.gaps: dict[int, int] = {}
        self._last_ns = 0
        self._max_gap_ns = 0

    def add(self, at_ns: int) -> None:
        """Count an event that was sent at this time."""
        if self.events:
            gap_ns = at_ns - self._last_ns
            if gap_ns > self._max_gap_ns:
                self._max_gap_ns = gap_ns
            bucket = bucket_of_us(gap_ns // 1_000)
            self.gaps[bucket] = self.gaps.get(bucket, 0) + 1
        else:
            self.first_ns = at_ns
        self.events += 1
        self._last_ns = at_ns

    @property
    def last_ns(self) -> int | None:
        """The time of the last event."""
        return self._last_ns if self.events else None

    @property
    def max_gap_ns(self) -> int | None:
        """The longest gap, if there is one."""
        return self._max_gap_ns if self.events > 1 else None
