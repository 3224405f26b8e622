"""Running a query: the protocol that every read of the store uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Row = Sequence[Any]


class Reader(Protocol):
    """Runs one query with server-side parameters: `Database` in the query service, a plain client in tests."""

    async def read(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """Return the rows; raises StoreError."""
        ...


class BinaryReader(Reader, Protocol):
    """A reader that also returns rows as bytes, for `row_binary`."""

    async def read_binary(self, sql: str, parameters: Mapping[str, Any]) -> bytes:
        """Return the rows in ClickHouse's RowBinary format; raises StoreError."""
        ...
