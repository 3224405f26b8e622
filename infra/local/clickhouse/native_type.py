"""The length of a column in ClickHouse's Native format, for each type.

Pure. The format contains no column lengths, so finding the next column means walking the data. The layouts
are those of ClickHouse's SerializationXxx classes (serializeBinaryBulk), at protocol revision 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from endpoint_analytics.infra.local.clickhouse.errors import refusal

# (data, position, rows) -> position after the column; IndexError if the data ends first.
Walk = Callable[[bytes, int, int], int]

_WIDTHS = {
    "Bool": 1, "Int8": 1, "UInt8": 1, "Enum8": 1, "Nothing": 1, "Int16": 2, "UInt16": 2, "Enum16": 2,
    "Date": 2, "BFloat16": 2, "Int32": 4, "UInt32": 4, "Float32": 4, "Date32": 4, "DateTime": 4, "Time": 4, "IPv4": 4,
    "Decimal32": 4, "Int64": 8, "UInt64": 8, "Float64": 8, "DateTime64": 8, "Time64": 8, "Decimal64": 8,
    "Int128": 16, "UInt128": 16, "UUID": 16, "IPv6": 16, "Decimal128": 16, "Int256": 32, "UInt256": 32,
    "Decimal256": 32,
}  # fmt: skip
_ALIASES = {
    "Point": "Tuple(Float64, Float64)",
    "Ring": "Array(Point)",
    "LineString": "Array(Point)",
    "Polygon": "Array(Ring)",
    "MultiLineString": "Array(LineString)",
    "MultiPolygon": "Array(Polygon)",
}
_TYPE = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*\Z", re.DOTALL)
_NAMED = re.compile(r"\s*(?:`(?:[^`\\]|\\.)*`|\w+)\s+(?=\w)")
_ARGUMENT = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|[(),]|[^'`(),]+")


@dataclass(frozen=True, slots=True)
class NativeType:
    """A type's layout: the size of its state prefix, which precedes the data, and the walk over the data."""

    prefix_bytes: int
    walk: Walk


@lru_cache(maxsize=1024)
def parse_native_type(name: str) -> NativeType:
    """Return the layout of a type; raises ClickHouseError for an unknown one."""
    match = _TYPE.match(_ALIASES.get(name.strip(), name))
    if match is None:
        raise refusal(48, f"Native format with client_protocol_version: the type {name} is not supported.")
    base, arguments = match[1], _arguments(match[2] or "")
    if base in _WIDTHS or base.startswith("Interval"):
        return NativeType(0, _fixed(_WIDTHS.get(base, 8)))
    if base == "String":
        return NativeType(0, _strings)
    if base == "FixedString":
        return NativeType(0, _fixed(int(arguments[0])))
    if base == "Decimal":
        digits = int(arguments[0])
        return NativeType(0, _fixed(4 if digits < 10 else 8 if digits < 19 else 16 if digits < 39 else 32))
    if base == "SimpleAggregateFunction":
        return parse_native_type(arguments[-1])
    if base == "LowCardinality":
        inner = parse_native_type(arguments[0].strip().removeprefix("Nullable(").removesuffix(")"))
        return NativeType(8, _low_cardinality(inner.walk))
    inners = [parse_native_type(_NAMED.sub("", argument, count=1)) for argument in arguments]
    prefix_bytes = sum(inner.prefix_bytes for inner in inners)
    walks = tuple(inner.walk for inner in inners)
    if base == "Nullable":
        return NativeType(prefix_bytes, _sequence((_fixed(1), *walks)))
    if base == "Array":
        return NativeType(prefix_bytes, _array(walks[0]))
    if base in ("Map", "Nested"):
        return NativeType(prefix_bytes, _array(_sequence(walks)))
    if base == "Tuple":
        return NativeType(prefix_bytes, _sequence(walks) if walks else _fixed(1))
    raise refusal(48, f"Native format with client_protocol_version: the type {name} is not supported.")


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return an unsigned LEB128 number and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _arguments(text: str) -> list[str]:
    """Split the arguments of a type at the commas outside brackets and quotes."""
    parts, depth = [""], 0
    for match in _ARGUMENT.finditer(text):
        piece = match[0]
        depth += (piece == "(") - (piece == ")")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part for part in parts if part.strip()]


def _fixed(width: int) -> Walk:
    def walk(_data: bytes, position: int, rows: int) -> int:
        return position + width * rows

    return walk


def _sequence(walks: tuple[Walk, ...]) -> Walk:
    def walk(data: bytes, position: int, rows: int) -> int:
        for inner in walks:
            position = inner(data, position, rows)
        return position

    return walk


def _strings(data: bytes, position: int, rows: int) -> int:
    for _ in range(rows):
        size = data[position]
        if size < 0x80:
            position += size + 1
        else:
            size, position = read_varint(data, position)
            position += size
    return position


def _number(data: bytes, position: int) -> int:
    if position + 8 > len(data):
        raise IndexError
    return int.from_bytes(data[position : position + 8], "little")


def _array(inner: Walk) -> Walk:
    def walk(data: bytes, position: int, rows: int) -> int:
        stop = position + 8 * rows
        return inner(data, stop, _number(data, stop - 8)) if rows else stop

    return walk


def _low_cardinality(dictionary: Walk) -> Walk:
    """Layout: flags, number of keys, keys, number of rows, and an index of 1, 2, 4 or 8 bytes per row."""

    def walk(data: bytes, position: int, rows: int) -> int:
        if not rows:
            return position
        width = 1 << (_number(data, position) & 0xFF)
        position = dictionary(data, position + 16, _number(data, position + 8))
        return position + 8 + width * _number(data, position)

    return walk
