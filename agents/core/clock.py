"""Two clocks and how they meet: events are timed by one that never jumps, and told in wall-clock time."""

from __future__ import annotations

import time

STEADY_US = 1_000
"""Below this the wall clock's drift against the monotonic clock is not followed: intervals stay seamless."""

now_ns = time.perf_counter_ns
"""The monotonic clock of all events, in nanoseconds."""


def read_offset_us() -> int:
    """Return what must be added to the monotonic clock, in microseconds, to get microseconds since 1970."""
    before_ns = now_ns()
    wall_ns = time.time_ns()
    return (wall_ns - (before_ns + now_ns()) // 2) // 1_000


def steady_offset_us(previous_us: int, measured_us: int) -> int:
    """Return the offset to use: the previous one, until the clocks have moved apart by STEADY_US."""
    return previous_us if abs(measured_us - previous_us) < STEADY_US else measured_us
