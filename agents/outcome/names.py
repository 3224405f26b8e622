"""A bounded set of names, such as routes, models or callers: those beyond the limit are `other`. Pure."""

from __future__ import annotations

import re

from endpoint_analytics.agents.core.clamp import text_in_range
from endpoint_analytics.schemas.limits import MAX_LABEL_LENGTH
from endpoint_analytics.schemas.outcomes import OTHER

UNUSED_NS = 600_000_000_000
"""A name that was not used for so long makes room for others."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Names:
    """At most `limit` names at a time; the empty name, which means unknown, is always one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used_ns: dict[str, int] = {}

    def name(self, text: str, now_ns: int) -> str:
        """Return the text as a name, shortened if it is too long; OTHER if there are too many."""
        if not text:
            return ""
        if text not in self._used_ns:
            text = text_in_range(_CONTROL.sub(" ", text), MAX_LABEL_LENGTH)
            if text not in self._used_ns and len(self._used_ns) >= self._limit and not self._forget(now_ns):
                return OTHER
        self._used_ns[text] = now_ns
        return text

    def _forget(self, now_ns: int) -> bool:
        unused = [name for name, used_ns in self._used_ns.items() if now_ns - used_ns > UNUSED_NS]
        for name in unused:
            del self._used_ns[name]
        return bool(unused)
