"""What a log line says of a request, and the times that lines are written in. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum

import msgspec

_CLF_TIME = re.compile(r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})")
_MONTHS = {name: number for number, name in enumerate(
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_UNITS_US = ((1e17, 1e-3), (1e14, 1.0), (1e11, 1e3), (0.0, 1e6))


class Logged(msgspec.Struct, frozen=True, gc=False):
    """One request that is over; times in microseconds.

    `end_us` is None when the line tells no time, `duration_us` when it tells no duration, `status` when none
    was sent. `wait_us` is arrival to status; where the log does not tell, it is the duration. `target` is the
    request's path and query as they were logged, None where the lines tell of neither.
    """

    status: int | None
    end_us: int | None = None
    duration_us: int | None = None
    wait_us: int | None = None
    is_aborted: bool = False
    target: str | None = None


class Other(Enum):
    """A line that tells of no request, and need not."""

    OTHER = 0


OTHER = Other.OTHER


def parse_time_us(text: str) -> int:
    """Return microseconds since 1970 of a number (in s, ms, us or ns), ISO 8601, or a common log's time.

    Raises ValueError.
    """
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        for least, factor in _EPOCH_UNITS_US:
            if number >= least:
                return round(number * factor)
        raise ValueError(text)
    match = _CLF_TIME.fullmatch(text)
    if match is not None:
        day, month, year, hour, minute, second, sign, off_hours, off_minutes = match.groups()
        if month not in _MONTHS:
            raise ValueError(text)
        at = datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        offset_s = (int(off_hours) * 3_600 + int(off_minutes) * 60) * (1 if sign == "+" else -1)
        return _since_epoch_us(at) - offset_s * 1_000_000
    at = datetime.fromisoformat(text)
    return _since_epoch_us(at if at.tzinfo else at.replace(tzinfo=UTC))


def scaled_us(text: str, unit_us: int) -> int | None:
    """Return a duration in microseconds; None for a dash or nothing. Raises ValueError."""
    return None if text in {"", "-"} else max(round(float(text) * unit_us), 0)


def _since_epoch_us(at: datetime) -> int:
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
