"""A logged request, and parsers for the numbers and times in access log lines. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum

import msgspec

CLIENT_CLOSED = 499
"""nginx's status, also used by others, for a client that left before the status was sent."""

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
    """One finished request; times in microseconds.

    `end_us` is None if the line has no timestamp, `duration_us` if it has no duration, `status` if none was sent; the
    status may be one that HTTP does not define. `wait_us` is the time from arrival to status; without it, the duration
    is used. `target` is the logged path and query, None if the line has neither.
    """

    status: int | None
    end_us: int | None = None
    duration_us: int | None = None
    wait_us: int | None = None
    is_aborted: bool = False
    target: str | None = None


class Other(Enum):
    """A line to ignore: OTHER is not about a request, OUTGOING is about one that the replica itself made."""

    OTHER = 0
    OUTGOING = 1


OTHER, OUTGOING = Other.OTHER, Other.OUTGOING


class Unfit(msgspec.Struct, frozen=True):
    """A line that does not match, and why."""

    why: str


def read_status(text: object) -> int | None:
    """Return the status; None if none was sent: `-`, empty, 0, HAProxy's -1, and 499. Raises ValueError.

    Numbers that HTTP does not define are returned unchanged.
    """
    if text in {"", "-", None}:
        return None
    status = int(str(text))
    return None if status <= 0 or status == CLIENT_CLOSED else status


def parse_time_us(text: str) -> int:
    """Return microseconds since 1970 from a number (in s, ms, us or ns), ISO 8601, or the common log format.

    Without a zone, ISO 8601 is UTC, and a common-log time (as HAProxy writes it) is local. Raises ValueError.
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
        at = datetime(  # noqa: DTZ001  # the zone is handled below
            int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), micros
        )
        if sign is None:
            return _since_epoch_us(at.astimezone(UTC))
        offset_s = (int(off_hours) * 3_600 + int(off_minutes) * 60) * (1 if sign == "+" else -1)
        return _since_epoch_us(at.replace(tzinfo=UTC)) - offset_s * 1_000_000
    at = datetime.fromisoformat(text)
    return _since_epoch_us(at if at.tzinfo else at.replace(tzinfo=UTC))


def scaled_us(text: str, unit_us: float) -> int | None:
    """Return a duration in microseconds; None for a dash or an empty text. Raises ValueError."""
    return None if text in {"", "-"} else max(round(float(text) * unit_us), 0)


def parse_go_duration_us(text: str) -> int:
    """Return a Go duration such as `1m2.5s` or `653.683µs` in microseconds; raises ValueError."""
    if not _GO_DURATION.fullmatch(text):
        raise ValueError(text)
    return round(sum(float(number) * _GO_UNITS_US[unit] for number, unit in _GO_PART.findall(text)))


def _since_epoch_us(at: datetime) -> int:
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
