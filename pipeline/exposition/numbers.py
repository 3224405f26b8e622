"""Numbers as both text formats write them. Nothing else belongs here."""

from __future__ import annotations

import math


def number_text(value: float) -> str:
    """Return the shortest text that parses back to the same number, in the notation of both formats."""
    if isinstance(value, int):
        return str(value)
    if math.isfinite(value):
        return repr(value)
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"
