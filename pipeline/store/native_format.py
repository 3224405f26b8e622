"""ClickHouse's Native format, for inserts: a block is its columns one after another, each with its name and type.

Source: clickhouse.com/docs/interfaces/formats/Native. Over HTTP a block begins with the numbers of columns and rows;
numbers are little-endian, an array column is the end of each row's array and then all elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from endpoint_analytics.pipeline.core.row_block import Column, Lists, Numbers, RowBlock, Times

_TYPES = {"uint8": "UInt8", "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64", "float64": "Float64"}


def encode_block(block: RowBlock) -> bytes:
    """Return the block in the Native format; raises TypeError for a column of a type that no table of ours has."""
    parts = [_varint(len(block.columns)), _varint(block.count)]
    for name, column in block.columns.items():
        kind, values = _encode(column)
        parts += (_text(name), _text(kind), values)
    return b"".join(parts)


def _encode(column: Column) -> tuple[str, bytes]:
    if isinstance(column, Lists):
        kind, elements = _encode_plain(column.elements)
        return f"Array({kind})", np.cumsum(column.lengths).astype("<u8").tobytes() + elements
    if isinstance(column, Times):
        if column.digits == 0:
            return "DateTime('UTC')", column.moments.astype("<u4").tobytes()
        return f"DateTime64({column.digits}, 'UTC')", column.moments.astype("<i8").tobytes()
    return _encode_plain(column)


def _encode_plain(column: Numbers | Sequence[str]) -> tuple[str, bytes]:
    if not isinstance(column, np.ndarray):
        return "String", b"".join(map(_text, column))
    kind = _TYPES.get(column.dtype.name)
    if kind is None:
        raise TypeError(f"no column is of {column.dtype}")
    return kind, column.astype(column.dtype.newbyteorder("<"), copy=False).tobytes()


@lru_cache(maxsize=65_536)
def _text(text: str) -> bytes:
    """Return a text with its length; the same names come again with each block."""
    encoded = text.encode()
    return _varint(len(encoded)) + encoded


def _varint(number: int) -> bytes:
    """Return a number in LEB128: seven bits a byte, the lowest first."""
    if number < 128:
        return bytes((number,))
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
