"""Two clocks and the offset between them: events are timed on the monotonic clock and reported in wall-clock time."""

from __future__ import annotations

import time

STEADY_US = 1_000
"""Smaller drift between wall clock and monotonic clock is ignored, so that intervals stay contiguous."""

now_ns = time.perf_counter_ns
"""The monotonic clock for all events, in nanoseconds."""


def read_offset_us() -> int:
    """Return the microseconds to add to the monotonic clock to get microseconds since 1970."""
    before_ns = now_ns()
    wall_ns = time.time_ns()
    return (wall_ns - (before_ns + now_ns()) // 2) // 1_000


def steady_offset_us(previous_us: int, measured_us: int) -> int:
    """Return the offset to use: the previous one, until the clocks have drifted apart by STEADY_US."""
    return previous_us if abs(measured_us - previous_us) < STEADY_US else measured_us
