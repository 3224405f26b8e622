"""What a check finds. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "failure"]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the report: the part that was checked, what was found, and how to fix it (empty for "ok")."""

    part: str
    level: Level
    text: str
    fix: str = ""


def ok(part: str, text: str) -> Finding:
    """Return that a part is as it should be."""
    return Finding(part, "ok", text)


def warning(part: str, text: str, fix: str) -> Finding:
    """Return that a part works now, and may fail later or do less than expected."""
    return Finding(part, "warning", text, fix)


def failure(part: str, text: str, fix: str = "") -> Finding:
    """Return that a part does not work. `fix` may be empty if the text says how to fix it."""
    return Finding(part, "failure", text, fix)
