"""Sees that a piece says the same as one before it: both are one event, and differ only inside one text.

Most pieces of a stream are a part of the answer each, and need not be split and decoded to know it, which takes twice
the time. The text is the value of a member of which no reader asks more than whether it is empty; it has no escapes, no
line ends and is well-formed UTF-8, so that the events are one if the other is.
"""

from __future__ import annotations

import re

from endpoint_analytics.agents.outcome.event_stream import MAX_EVENT_BYTES

# RFC 3629, section 4, without what ends or escapes a JSON string. Possessive: it never tries twice.
_TEXT = re.compile(
    rb"(?:[\x20\x21\x23-\x5b\x5d-\x7f]++|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]"
    rb"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})++"
)
# A text of one of the members that are content in some dialect.
_MEMBER = re.compile(
    rb'(?<!\\)"(?:content|reasoning_content|reasoning|text|thinking|partial_json|delta|response|token)": ?'
    rb'"(' + _TEXT.pattern + rb')"'
)

MAX_PIECE_BYTES = 16 * 1024
"""A longer piece is not kept."""

MAX_LEARNED = 8
"""After so many pieces in a row that are not like the one before, a stream has no such pieces."""


class RepeatedPiece:
    """The last piece that was one event of nothing but content, and whether others are like it."""

    __slots__ = ("_head", "_learned", "_tail", "_tail_bytes", "_text_at")

    def __init__(self) -> None:
        self._head = self._tail = b""
        self._text_at = self._tail_bytes = 0
        self._learned = 0

    def learn(self, piece: bytes) -> bool:
        """Compare others with this piece from now on, if it has one such text. Return False if that is no use here."""
        self._learned += 1
        if len(piece) > MAX_PIECE_BYTES:
            return self._learned < MAX_LEARNED
        found = _MEMBER.finditer(piece)
        member = next(found, None)
        if member is not None and next(found, None) is None:
            self._head, self._tail = piece[: member.start(1)], piece[member.end(1) :]
            self._text_at, self._tail_bytes = len(self._head), len(self._tail)
        return self._learned < MAX_LEARNED

    def matches(self, piece: bytes) -> bool:
        """Return whether the piece is like the one learned, but for a text, which is not empty either."""
        head = self._head
        if not head or not piece.startswith(head) or not piece.endswith(self._tail):
            return False
        length = len(piece)
        if length > MAX_EVENT_BYTES or not _TEXT.fullmatch(piece, self._text_at, length - self._tail_bytes):
            return False
        self._learned = 0
        return True
