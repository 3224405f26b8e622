"""Rows in ClickHouse's RowBinary format, for results of many numbers: arrays of them are read without a copy.

Format: https://clickhouse.com/docs/interfaces/formats/RowBinary
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class RowBinary:
    """Takes one value after another, in the order of the columns."""

    def __init__(self, rows: bytes) -> None:
        self._rows = rows
        self._at = 0

    @property
    def has_more(self) -> bool:
        """Whether there is another value."""
        return self._at < len(self._rows)

    def string(self) -> str:
        """Return a String."""
        length = self._length()
        return self._take(length).decode()

    def integer(self, size: int) -> int:
        """Return an unsigned integer of `size` bytes."""
        return int.from_bytes(self._take(size), "little")

    def array(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an Array of numbers, read-only. It keeps all the rows in memory."""
        length = self._length()
        start, self._at = self._at, self._at + length * dtype.itemsize
        return np.frombuffer(self._rows, dtype, length, start)

    def _take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._rows):
            raise ValueError(f"a value ends at byte {self._at} of {len(self._rows)}")
        return self._rows[start : self._at]

    def _length(self) -> int:
        """Return an unsigned LEB128 integer."""
        length = shift = 0
        while True:
            (byte,) = self._take(1)
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                return length
            shift += 7
