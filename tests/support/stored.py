"""The fold's rows, one by one and in ClickHouse, for tests that fold without a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client

from endpoint_analytics.pipeline.core.row_block import Column, Lists, RowBlock, Times
from endpoint_analytics.pipeline.core.rows import Row, seconds3, seconds6
from endpoint_analytics.pipeline.store.writer import encode_rows


def each_row(rows: Iterable[Row | RowBlock]) -> Iterator[Row]:
    """Yield single rows, those of blocks with their values as a single row has them."""
    for row in rows:
        if isinstance(row, Row):
            yield row
            continue
        columns = [_values(column) for column in row.columns.values()]
        for values in zip(*columns, strict=True):
            yield Row(row.table, dict(zip(row.columns, values, strict=True)))


def insert_rows(
    client: Client, rows: Iterable[Row | RowBlock], settings: dict[str, Any] | None = None
) -> None:
    """Insert the rows like the worker."""
    for insert in encode_rows(rows):
        client.raw_insert(insert.table, insert_block=insert.data, settings=settings or {}, fmt=insert.format)


def _values(column: Column) -> Sequence[object]:
    if isinstance(column, Lists):
        elements, values = _values(column.elements), []
        for length in column.lengths.tolist():
            values.append(list(elements[:length]))
            elements = elements[length:]
        assert not elements
        return values
    if isinstance(column, Times):
        texts: dict[int, Callable[[int], object]] = {0: int, 3: seconds3, 6: seconds6}
        return [texts[column.digits](moment) for moment in column.moments.tolist()]
    return column if isinstance(column, Sequence) else column.tolist()
