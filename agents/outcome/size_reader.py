"""Reads of a body only how large it is, and when its first byte was sent."""

from __future__ import annotations

from endpoint_analytics.agents.outcome.body_facts import BodyFacts


class SizeReader:
    """A ResponseReader for bodies that say nothing of themselves."""

    __slots__ = ("_body_bytes", "_first_byte_ns")

    def __init__(self) -> None:
        self._body_bytes = 0
        self._first_byte_ns: int | None = None

    def read(self, piece: bytes, at_ns: int) -> None:
        """Count a piece."""
        if self._first_byte_ns is None and piece:
            self._first_byte_ns = at_ns
        self._body_bytes += len(piece)

    def end(self) -> BodyFacts:
        """Return the facts."""
        return BodyFacts(streamed=False, body_bytes=self._body_bytes, first_byte_ns=self._first_byte_ns)
