"""How many boots and namespaces a chunk may have: any beyond the limit are counted together, under one name.

A flood of names from one namespace must not fill memory or tables. Each namespace has its own limit, so that others do
not suffer. The rule depends only on the open chunk, so it gives the same result whenever the chunk is reread.
"""

from __future__ import annotations

from endpoint_analytics.pipeline.core.boots import OVERFLOW, BootKey

MAX_BOOTS = 2_000
"""Boots of one namespace in one chunk of one partition."""

MAX_NAMESPACES = 1_000
"""Namespaces in one chunk of one partition; further ones share one name."""


class OverflowRule:
    """The boots and namespaces that one chunk counts under their own names."""

    __slots__ = ("_admitted", "_endpoints", "_max_boots")

    def __init__(self, max_boots: int = MAX_BOOTS) -> None:
        self._max_boots = max_boots
        self._admitted: dict[str, set[BootKey]] = {}
        self._endpoints: set[tuple[str, str]] = set()

    def key_for(self, key: BootKey) -> BootKey:
        """Return the key under which the boot is counted: its own, or its namespace's overflow."""
        boots = self._admitted.get(key.namespace)
        if boots is None:
            if len(self._admitted) >= MAX_NAMESPACES:
                return BootKey(OVERFLOW, OVERFLOW, OVERFLOW, OVERFLOW)
            boots = self._admitted[key.namespace] = set()
        if key in boots:
            return key
        if len(boots) < self._max_boots:
            boots.add(key)
            self._endpoints.add((key.namespace, key.endpoint))
            return key
        known = (key.namespace, key.endpoint) in self._endpoints
        return BootKey(key.namespace, key.endpoint if known else OVERFLOW, OVERFLOW, OVERFLOW)
