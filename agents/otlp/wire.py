"""Walks protobuf's wire form without decoding it, so that what decoding would cost is known before. Pure.

https://protobuf.dev/programming-guides/encoding/: a field is a tag, its number and type, and a value. An empty message
takes two bytes there, but a hundred in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}
"""Types of numbers of fixed length, and that."""
_CONTINUES = 128
_LONGEST_VARINT = 10


class WireError(Exception):
    """The bytes are not protobuf's wire form."""


class TooManyFieldsError(Exception):
    """There are more fields than may be walked past."""

    def __init__(self, most: int) -> None:
        super().__init__(f"more than {most} fields")


Shape = Mapping[int, "Shape"]
"""The fields of a message that are messages, by number."""


class Walk:
    """Walks `data`, past at most `most` fields; its methods raise WireError and TooManyFieldsError."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data = data
        self._most = self.left = most

    def fields(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield of each field of the message at `at` to `end`: its number, and where its content starts and ends.

        That of a number is empty.
        """
        data = self._data
        try:
            while at < end:
                self.left -= 1
                if self.left < 0:
                    raise TooManyFieldsError(self._most)
                tag = data[at]
                at += 1
                if tag >= _CONTINUES:
                    tag, at = _varint(data, at - 1)
                kind = tag & 7
                start = at
                if kind == _BYTES:
                    size = data[at]
                    at += 1
                    if size >= _CONTINUES:
                        size, at = _varint(data, at - 1)
                    start, at = at, at + size
                    if at > end:
                        break
                elif kind == _VARINT:
                    _, at = _varint(data, at)
                    start = at
                elif kind in _FIXED:
                    at += _FIXED[kind]
                    start = at
                else:
                    raise WireError(f"a field has the type {kind}")
                yield tag >> 3, start, at
        except IndexError:
            at = end + 1
        if at != end:
            raise WireError("a field is truncated")

    def count(self, start: int, end: int, shape: Shape) -> None:
        """Walk past all fields of a message and of those inside it."""
        left = [(start, end, shape)]
        while left:
            start, end, shape = left.pop()
            for number, at, to in self.fields(start, end):
                if number in shape:
                    left.append((at, to, shape[number]))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at a position, and the position after it."""
    value = 0
    for place in range(_LONGEST_VARINT):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < _CONTINUES:
            return value, at + place + 1
    raise WireError("a number has more than 10 bytes")
