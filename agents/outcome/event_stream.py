"""Splits a streamed body into events, piece by piece: server-sent events, and JSON lines. Knows nothing of their data.

What is held between pieces is at most MAX_EVENT_BYTES: with an event that is longer, a splitter gives up, holds nothing
and finds nothing more. How the body is cut into pieces never matters.

Sources: html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6 (interpretation of an event stream; `id`
and `retry` concern only a client that reconnects); github.com/ndjson/ndjson-spec; RFC 7464 (JSON text sequences).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from endpoint_analytics.agents.outcome.event_facts import UNREADABLE

MAX_EVENT_BYTES = 1024 * 1024
"""The longest event that is read: the name, the data and the line after them, together."""

Event = tuple[bytes, bytes]
"""The name of an event (empty: none, which means `message`), and its data."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LF, _CR = 10, 13
_AROUND_JSON = b"\x1e\t\r\n "  # RFC 7464 opens each record with RS


class SseEvents:
    """Splits `text/event-stream`. `gave_up` turns true once an event is too long.

    `is_between`: nothing is held, the next byte opens an event.
    """

    __slots__ = ("_after_cr", "_data", "_is_first", "_line", "_name", "gave_up", "is_between")

    def __init__(self) -> None:
        self._line = bytearray()  # a line without its end so far
        self._data: bytes | bytearray | None = None  # the data lines of an event without its end so far
        self._name = b""
        self._after_cr = False  # a line feed that comes now belongs to the line end before it
        self._is_first = True  # the first line, which may open with a byte order mark
        self.is_between = False
        self.gave_up = False

    def feed(self, piece: bytes) -> Sequence[Event]:
        """Return the events that end in this piece."""
        # One event, of one data line and perhaps a name: what most servers send at once. No buffer, no copies.
        if self.is_between and piece[-2:] == b"\n\n" and _CR not in piece:
            first_end, last_end = piece.find(_LF), len(piece) - 2
            if last_end > MAX_EVENT_BYTES:
                pass
            elif first_end == last_end:
                if piece[:6] == b"data: ":
                    return ((b"", piece[6:first_end]),)
            elif (
                piece[:7] == b"event: "
                and piece[first_end + 1 : first_end + 7] == b"data: "
                and piece.find(_LF, first_end + 1) == last_end
            ):
                return ((piece[7:first_end], piece[first_end + 7 : last_end]),)
        return self._feed_any(piece)

    def missing_end(self) -> bytes:
        """Return nothing: an event without its blank line is not dispatched."""
        return b""

    @property
    def held_bytes(self) -> int:
        """The bytes that wait for the rest of their event."""
        return len(self._line) + len(self._data or b"") + len(self._name)

    def _feed_any(self, piece: bytes) -> Sequence[Event]:
        if self.gave_up or not piece:
            return ()
        if self._after_cr and piece[0] == _LF:
            piece = piece[1:]
        self._after_cr = piece[-1:] == b"\r"
        lines = piece.splitlines()
        unfinished = lines.pop() if lines and piece[-1] not in (_LF, _CR) else b""
        if self.held_bytes + len(piece) <= MAX_EVENT_BYTES:
            events = self._read_lines(self._whole(lines))
        else:
            events = self._read_long(self._whole(lines))
            if self.held_bytes + len(unfinished) > MAX_EVENT_BYTES:
                self._give_up()
            if self.gave_up:
                return events
        self._line += unfinished
        is_held = self._line or self._data is not None or self._name
        self.is_between = not (is_held or self._after_cr or self._is_first)
        return events

    def _whole(self, lines: list[bytes]) -> list[bytes]:
        """Put what is held of a line before the first one, which is its rest."""
        if lines and self._line:
            lines[0] = bytes(self._line + lines[0])
            self._line = bytearray()
        return lines

    def _read_long(self, lines: Sequence[bytes]) -> Sequence[Event]:
        """Read whole lines that may make up too long an event."""
        events: list[Event] = []
        for line in lines:
            if self.held_bytes + len(line) > MAX_EVENT_BYTES:
                self._give_up()
                break
            events += self._read_lines([line])
        return events

    def _read_lines(self, lines: list[bytes]) -> Sequence[Event]:
        """Read whole lines, and return the events that blank ones among them end."""
        if self._is_first and lines:
            self._is_first = False
            lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
        events: list[Event] = []
        name, data = self._name, self._data
        for line in lines:
            if not line:
                if data is not None:
                    events.append((name, bytes(data)))
                    data = None
                name = b""
                continue
            if line[:6] == b"data: ":
                field, value = b"data", line[6:]
            else:
                field, _, value = line.partition(b":")
                if value[:1] == b" ":
                    value = value[1:]
            if field == b"data":
                data = value if data is None else _joined(data, value)
            elif field == b"event":
                name = value
        self._name, self._data = name, data
        return events

    def _give_up(self) -> None:
        self.gave_up = True
        self.is_between = False
        self._line = bytearray()
        self._data = None
        self._name = b""


def _joined(data: bytes | bytearray, line: bytes) -> bytearray:
    """Append a data line to those before it."""
    lines = data if isinstance(data, bytearray) else bytearray(data)
    lines += b"\n"
    lines += line
    return lines


class NdjsonEvents:
    """Splits lines of JSON: each line that is not blank is an event without a name. Its attributes are SseEvents'."""

    __slots__ = ("_line", "gave_up", "is_between")

    def __init__(self) -> None:
        self._line = bytearray()
        self.is_between = True
        self.gave_up = False

    def feed(self, piece: bytes) -> Sequence[Event]:
        """Return the events that end in this piece."""
        if self.is_between and piece.find(_LF) == len(piece) - 1 < MAX_EVENT_BYTES:
            text = piece.strip(_AROUND_JSON)  # one line
            return ((b"", text),) if text else ()
        if self.gave_up:
            return ()
        *lines, unfinished = piece.split(b"\n")
        if lines and self._line:
            lines[0] = bytes(self._line + lines[0])
            self._line = bytearray()
        events: list[Event] = []
        for line in lines:
            if len(line) > MAX_EVENT_BYTES:
                self._give_up()
                return events
            if text := line.strip(_AROUND_JSON):
                events.append((b"", text))
        if len(self._line) + len(unfinished) > MAX_EVENT_BYTES:
            self._give_up()
            return events
        self._line += unfinished
        self.is_between = not self._line
        return events

    def missing_end(self) -> bytes:
        """Return the line feed that the last line lacks if it is whole JSON: not every server sends it."""
        try:
            msgspec.json.decode(self._line.strip(_AROUND_JSON), type=msgspec.Raw)
        except UNREADABLE:
            return b""
        return b"\n"

    @property
    def held_bytes(self) -> int:
        """The bytes that wait for the rest of their line."""
        return len(self._line)

    def _give_up(self) -> None:
        self.gave_up = True
        self.is_between = False
        self._line = bytearray()
