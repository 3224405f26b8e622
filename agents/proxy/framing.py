"""Body framing: where a body ends. Pure: a body is fed what was read, and returns how much of it belongs to it.

Nothing is decoded: the proxy forwards a body unchanged, including chunk lines and trailers, but only if each line is
unambiguous (RFC 9112, section 7.1).
"""

from __future__ import annotations

import re
from typing import Protocol

from endpoint_analytics.agents.proxy.fields import are_fields

MAX_LINE_BYTES = 4_096
"""Longest chunk size line, including extensions."""
MAX_TRAILER_BYTES = 16_384

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")


class BadBodyError(Exception):
    """A body whose framing is malformed or too large, so that its end is unknown."""


class BodyFraming(Protocol):
    """`feed` returns how many bytes of `data` belong to the body; after `is_done` it takes no more."""

    is_done: bool

    def feed(self, data: bytes) -> int:
        """Take up to all of `data`; raises BadBodyError."""


class LengthBody:
    """A body of known length."""

    __slots__ = ("_left", "is_done")

    def __init__(self, length: int) -> None:
        self._left = length
        self.is_done = length == 0

    def feed(self, data: bytes) -> int:
        """Take the rest of the body."""
        taken = min(len(data), self._left)
        self._left -= taken
        self.is_done = self._left == 0
        return taken


class UntilClose:
    """A response body that ends with its connection."""

    __slots__ = ("is_done",)

    def __init__(self) -> None:
        self.is_done = False

    def feed(self, data: bytes) -> int:
        """Take everything."""
        return len(data)


SIZE, DATA, AFTER, TRAILER = range(4)


class ChunkedBody:
    """A chunked body, possibly with trailers."""

    __slots__ = ("_left", "_line", "_state", "_trailer_bytes", "is_done")

    def __init__(self) -> None:
        self.is_done = False
        self._state = SIZE
        self._left = 0
        self._line = b""
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> int:
        """Take chunks and parts of chunks, up to the end of the trailers."""
        at, end = 0, len(data)
        while at < end:
            if self._state == DATA:
                step = min(self._left, end - at)
                self._left -= step
                at += step
                if not self._left:
                    self._state = AFTER
                continue
            feed_at = data.find(b"\n", at) + 1
            line = self._line + data[at : feed_at or end]
            if not feed_at:
                self._line = self._check_partial(line)
                return end
            at, self._line = feed_at, b""
            self._take_line(line)
            if self.is_done:
                break
        return at

    def _take_line(self, line: bytes) -> None:
        if self._state == AFTER:
            if line != b"\r\n":
                raise BadBodyError("a chunk is longer than it says")
            self._state = SIZE
        elif self._state == SIZE:
            match = _SIZE_LINE.fullmatch(line)
            if match is None or len(line) > MAX_LINE_BYTES:
                raise BadBodyError("a chunk's size is malformed")
            self._left = int(match[1], 16)
            self._state = DATA if self._left else TRAILER
        elif line == b"\r\n":
            self.is_done = True
        else:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > MAX_TRAILER_BYTES or not are_fields(line):
                raise BadBodyError("a trailer is malformed, or the trailers are too large")

    def _check_partial(self, line: bytes) -> bytes:
        limit = MAX_TRAILER_BYTES if self._state == TRAILER else MAX_LINE_BYTES
        if len(line) > limit or b"\r" in line[:-1] or (self._state == AFTER and line != b"\r"):
            raise BadBodyError("a line of the body is malformed")
        return line
