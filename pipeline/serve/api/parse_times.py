"""Parses moments as people and programs write them: ISO 8601, Unix seconds, or relative to now. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DAY = r"(?:19[7-9][0-9]|20[0-9]{2})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_UNIX = r"[0-9]{1,10}(?:\.[0-9]{1,6})?"
MOMENT = (
    rf"(?:now(?:-[0-9]{{1,9}}[smhdw])?|{_UNIX}"
    rf"|{_DAY}(?:[T ]{_CLOCK}(?::[0-5][0-9](?:\.[0-9]{{1,9}})?)?(?:Z|[+-]{_CLOCK})?)?)"
)
"""The regular expression of a moment, for documents; it must also exist and lie between 1970 and 2100."""
_MOMENT = re.compile(MOMENT, re.ASCII)
_IS_UNIX = re.compile(_UNIX, re.ASCII)
_RELATIVE = re.compile(r"now(?:-(\d{1,9})(s|m|h|d|w))?", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LATEST_S = 4_102_444_800  # the year 2100
MAX_CHARACTERS = 40


class MomentError(ValueError):
    """The text is not a valid moment."""


def parse_moment(text: str, now_s: float) -> float:
    """Return the moment in Unix seconds; raises MomentError. A time without an offset is UTC."""
    if len(text) <= MAX_CHARACTERS and _MOMENT.fullmatch(text):
        if _IS_UNIX.fullmatch(text):
            return _bounded(float(text), text)
        if match := _RELATIVE.fullmatch(text):
            count, unit = match.groups()
            return _bounded(now_s - (int(count) * _UNIT_S[unit] if count else 0), text)
        try:
            at = datetime.fromisoformat(text)
            return _bounded((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp(), text)
        except (ValueError, OverflowError):
            pass
    raise MomentError(f"{text[:MAX_CHARACTERS]!r} is not a moment in time")


def _bounded(at_s: float, text: str) -> float:
    if not 0 <= at_s <= _LATEST_S:
        raise MomentError(f"{text!r} is not between 1970 and 2100")
    return at_s
