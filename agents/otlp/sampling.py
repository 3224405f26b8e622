"""Whether a span stands for more than itself: the sampling threshold in W3C tracestate. Pure.

https://opentelemetry.io/docs/specs/otel/trace/tracestate-handling/: the entry `ot` has `th:` and up to 14 hexadecimal
digits, trailing zeros omitted. A trace was kept with the probability 1 - th / 2^56. Most samplers do not write it, so
its absence says nothing.
"""

from __future__ import annotations

import re

_THRESHOLD = re.compile(r"(?:^|,)\s*ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?=[;,\s]|$)")
_ALL = 1 << 56


def sampled_share(trace_state: str) -> float | None:
    """Return which share of traces was kept, 0 to 1; None if the tracestate does not say."""
    if "ot=" not in trace_state:
        return None
    match = _THRESHOLD.search(trace_state)
    return None if match is None else 1 - int(match[1].ljust(14, "0"), 16) / _ALL
