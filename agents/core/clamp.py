"""Clamps external input to the ranges that a message allows, before it is counted or stored.

Statuses, times, durations, readings and texts come from applications, access logs, clocks, drivers and files, and may
have any value. Each function returns a value that the decoders accept (schemas/limits), whatever its input; nothing
countable is left out. Pure, except that each invalid status is logged once.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from endpoint_analytics.schemas.limits import (
    MAX_COUNT,
    MAX_DROP_REASONS,
    MAX_DURATION_US,
    MAX_INTERVAL_US,
    MAX_READING,
    MAX_STATUS,
    MAX_SUM_US,
    MAX_TIME_US,
    MIN_STATUS,
    MIN_TIME_US,
)
from endpoint_analytics.schemas.requests import Totals

logger = logging.getLogger("endpoint_analytics")

INVALID_STATUS = MAX_STATUS
"""Replaces every status that HTTP does not define: treat it as a 5xx (RFC 9110, section 15)."""
OTHER_REASON = "other"

_REASON = re.compile(r"[a-z][a-z0-9_]{0,62}")


def status_in_range(status: object) -> int:
    """Return the status as a plain int, INVALID_STATUS if it is not an HTTP status (100 to 599)."""
    if type(status) is int and MIN_STATUS <= status <= MAX_STATUS:
        return status
    number = _whole(status)
    if number is not None and MIN_STATUS <= number <= MAX_STATUS:
        return number
    _warn_once(type(status).__name__ if number is None or abs(number) > MAX_COUNT else str(number))
    return INVALID_STATUS


def durations_in_range(durations_us: Iterable[int]) -> list[int]:
    """Return each duration clamped to 0 to MAX_DURATION_US; it is negative when a clock went backwards."""
    return [0 if us < 0 else min(us, MAX_DURATION_US) for us in durations_us]


def time_in_range(at_us: int) -> int:
    """Return the time clamped to a message's range: a machine without a clock reports 1970."""
    return min(max(at_us, MIN_TIME_US), MAX_TIME_US)


def interval_in_range(start_ns: int, end_ns: int, offset_us: int) -> tuple[int, int]:
    """Return start and end of a monotonic-clock interval, in microseconds since 1970.

    The end is kept: an interval that is too long starts later, and one whose clock went backwards is empty.
    """
    end_us = time_in_range(end_ns // 1_000 + offset_us)
    length_us = min(max(end_ns // 1_000 - start_ns // 1_000, 0), MAX_INTERVAL_US)
    return max(end_us - length_us, MIN_TIME_US), end_us


def reading_in_range(value: object) -> float | None:
    """Return the number; None if it is not a number, or outside the range of any reading."""
    is_valid = isinstance(value, int | float) and -MAX_READING <= value <= MAX_READING
    return value if is_valid else None  # type: ignore[return-value]  # a number by the line above


def readings_in_range(readings: Mapping[str, object]) -> dict[str, list[float | None]]:
    """Return the columns of one sample."""
    return {name: [reading_in_range(value)] for name, value in readings.items()}


def text_in_range(text: str, most: int) -> str:
    """Return at most `most` characters; what UTF-8 cannot encode is replaced."""
    return text[:most].encode("utf-8", "replace").decode()


def totals_in_range(totals: Totals) -> Totals:
    """Return the totals with every name and number in range; no counts are lost."""
    status: dict[str, int] = {}
    for name, number in totals.status.items():
        code = str(status_in_range(name))
        status[code] = _count(status.get(code, 0) + _count(number))
    return Totals(
        arrived=_count(totals.arrived),
        finished=_count(totals.finished),
        aborted_pending=_count(totals.aborted_pending),
        aborted_streaming=_count(totals.aborted_streaming),
        status=status,
        wait_us=_count(totals.wait_us, MAX_SUM_US),
        duration_us=_count(totals.duration_us, MAX_SUM_US),
        dropped=_drops(totals.dropped),
        dropped_batches=_drops(totals.dropped_batches),
    )


def _drops(counts: Mapping[str, int]) -> dict[str, int]:
    drops: dict[str, int] = {}
    for reason, number in counts.items():
        is_valid = _REASON.fullmatch(reason) and (reason in drops or len(drops) < MAX_DROP_REASONS - 1)
        name = reason if is_valid else OTHER_REASON
        drops[name] = _count(drops.get(name, 0) + _count(number))
    return drops


def _count(number: object, most: int = MAX_COUNT) -> int:
    return min(max(_whole(number) or 0, 0), most)


def _whole(value: object) -> int | None:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]  # a non-number raises
    except Exception:  # noqa: BLE001  # an application's own class may raise anything
        return None


@lru_cache(maxsize=600)
def _warn_once(status: str) -> None:
    logger.warning("%s is not an HTTP status: it counts as %d", status, INVALID_STATUS)
