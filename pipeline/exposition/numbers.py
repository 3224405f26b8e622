"""Numbers as both text formats write them. Only that belongs here."""

from __future__ import annotations

import math


def number_text(value: float) -> str:
    """Return the shortest text that reads back as the same number, in the spelling of both formats."""
    if isinstance(value, int):
        return str(value)
    if math.isfinite(value):
        return repr(value)
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"
