"""What was reported of each endpoint's limits, and what is new. Pure: limits and `now_us` in, settings out.

Limits apply from when they were requested, not from when they were seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from endpoint_analytics.agents.kubernetes.reported import AGAIN_US, LATE_US
from endpoint_analytics.agents.kubernetes.scaling import ReplicaLimits


@dataclass(frozen=True, slots=True)
class ReportedLimits:
    """Limits that apply from `at_us`."""

    at_us: int
    min_replicas: int
    max_replicas: int

    def same(self, other: ReplicaLimits) -> bool:
        """Return whether these are the same numbers."""
        return (self.min_replicas, self.max_replicas) == (other.min_replicas, other.max_replicas)


class LimitsReporter:
    """Knows the last reported limits of each endpoint."""

    def __init__(self) -> None:
        self._reported: dict[str, ReportedLimits] = {}
        self._seen: set[str] = set()

    def recall(self, endpoint: str, reported: ReportedLimits) -> None:
        """Restore what an earlier process of this agent reported."""
        self._reported[endpoint] = reported

    def observe(self, limits: Mapping[str, ReplicaLimits], now_us: int) -> dict[str, ReportedLimits]:
        """Given the limits of all endpoints, return what to report. An endpoint that no longer exists gets 0 to 0."""
        new: dict[str, ReportedLimits] = {}
        gone = self._seen - limits.keys()
        for endpoint, found in [
            *limits.items(),
            *((each, ReplicaLimits(0, 0, None)) for each in sorted(gone)),
        ]:
            last = self._reported.get(endpoint)
            if last is None or not last.same(found):
                at_us = _at_us(found.at_us, last, now_us)
                new[endpoint] = ReportedLimits(at_us, found.min_replicas, found.max_replicas)
        self._reported |= new
        self._seen = set(limits)
        return new


def _at_us(requested_us: int | None, last: ReportedLimits | None, now_us: int) -> int:
    """Return the time to report: when the limits were requested, but not after now, nor too old for the worker."""
    at_us = now_us if requested_us is None else min(requested_us, now_us)
    if last is not None and at_us <= last.at_us:
        return max(
            now_us, last.at_us + 1
        )  # they apply again: what replaced them was removed, at an unknown time
    if at_us < now_us - LATE_US:
        return now_us - now_us % AGAIN_US - LATE_US // AGAIN_US * AGAIN_US + AGAIN_US
    return at_us
