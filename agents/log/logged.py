"""What a log line says of a request, and the numbers and times that lines are written in. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum

import msgspec

CLIENT_CLOSED = 499
"""nginx's word, taken up by others, for a client that left before the status was sent."""

_CLF_TIME = re.compile(
    r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,6}))?(?: ([+-])(\d{2})(\d{2}))?"
)
_MONTHS = {name: number for number, name in enumerate(
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_UNITS_US = ((1e17, 1e-3), (1e14, 1.0), (1e11, 1e3), (0.0, 1e6))
# https://pkg.go.dev/time#Duration.String
_GO_DURATION = re.compile(r"(?:\d+(?:\.\d*)?(?:h|m|s|ms|us|µs|μs|ns))+")
_GO_PART = re.compile(r"(\d+(?:\.\d*)?)(h|ms|m|s|us|µs|μs|ns)")
_GO_UNITS_US = {"h": 3.6e9, "m": 6e7, "s": 1e6, "ms": 1e3, "us": 1.0, "µs": 1.0, "μs": 1.0, "ns": 1e-3}


class Logged(msgspec.Struct, frozen=True, gc=False):
    """One request that is over; times in microseconds.

    `end_us` is None when the line tells no time, `duration_us` when it tells no duration, `status` when none
    was sent; it may be one that HTTP does not have. `wait_us` is arrival to status; where the log does not tell, it
    is the duration. `target` is the request's path and query as they were logged, None where the lines tell of neither.
    """

    status: int | None
    end_us: int | None = None
    duration_us: int | None = None
    wait_us: int | None = None
    is_aborted: bool = False
    target: str | None = None


class Other(Enum):
    """A line that tells of no request, and need not; OUTGOING tells of one that the replica itself made."""

    OTHER = 0
    OUTGOING = 1


OTHER, OUTGOING = Other.OTHER, Other.OUTGOING


class Unfit(msgspec.Struct, frozen=True):
    """A line that does not fit for a reason that can be told."""

    why: str


def read_status(text: object) -> int | None:
    """Return the status, None when none was sent: `-`, nothing, 0, HAProxy's -1, and 499. Raises ValueError.

    Numbers that HTTP does not have are returned as they are.
    """
    if text in {"", "-", None}:
        return None
    status = int(str(text))
    return None if status <= 0 or status == CLIENT_CLOSED else status


def parse_time_us(text: str) -> int:
    """Return microseconds since 1970 of a number (in s, ms, us or ns), ISO 8601, or a common log's time.

    Without a zone ISO 8601 is UTC; a common log's time, which HAProxy writes so, is local. Raises ValueError.
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
        day, month, year, hour, minute, second, fraction, sign, off_hours, off_minutes = match.groups()
        if month not in _MONTHS:
            raise ValueError(text)
        micros = int((fraction or "").ljust(6, "0"))
        at = datetime(  # noqa: DTZ001  # its zone is found below
            int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), micros
        )
        if sign is None:
            return _since_epoch_us(at.astimezone(UTC))
        offset_s = (int(off_hours) * 3_600 + int(off_minutes) * 60) * (1 if sign == "+" else -1)
        return _since_epoch_us(at.replace(tzinfo=UTC)) - offset_s * 1_000_000
    at = datetime.fromisoformat(text)
    return _since_epoch_us(at if at.tzinfo else at.replace(tzinfo=UTC))


def scaled_us(text: str, unit_us: float) -> int | None:
    """Return a duration in microseconds; None for a dash or nothing. Raises ValueError."""
    return None if text in {"", "-"} else max(round(float(text) * unit_us), 0)


def parse_go_duration_us(text: str) -> int:
    """Return the microseconds of Go's `1m2.5s` or `653.683µs`; raises ValueError."""
    if not _GO_DURATION.fullmatch(text):
        raise ValueError(text)
    return round(sum(float(number) * _GO_UNITS_US[unit] for number, unit in _GO_PART.findall(text)))


def _since_epoch_us(at: datetime) -> int:
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
