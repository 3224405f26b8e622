"""Rows as bytes, as ClickHouse itself writes them."""

import asyncio

import numpy as np
import pytest

from endpoint_analytics.pipeline.store.database import Database
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.row_binary import RowBinary

TYPES = "repeat('é', number * 100), toUInt32(number), range(number * 70)::Array(UInt16), [number * 1e15]::Array(UInt64)"


def read(config, sql: str) -> bytes:
    async def once() -> bytes:
        database = Database(config)
        try:
            return await database.read_binary(sql, {})
        finally:
            await database.close()

    return asyncio.run(once())


def test_each_type_as_clickhouse_writes_it(config):
    rows = RowBinary(read(config, f"SELECT {TYPES} FROM numbers(300) ORDER BY number"))
    for number in range(300):
        assert rows.has_more
        assert rows.string() == "é" * number * 100
        assert rows.integer(4) == number
        assert rows.array(np.dtype("<u2")).tolist() == list(range(number * 70))
        assert rows.array(np.dtype("<u8")).tolist() == [number * 10**15]
    assert not rows.has_more


def test_no_rows(config):
    assert not RowBinary(read(config, "SELECT 'x' WHERE 0")).has_more


def test_a_query_that_fails_after_a_million_rows_has_no_rows(config):
    with pytest.raises(StoreError, match="half-way"):
        read(config, "SELECT throwIf(number = 3000000, 'half-way'), number FROM numbers(4000000)")


def test_rows_that_are_cut_off():
    rows = RowBinary(b"\x05abc")
    with pytest.raises(ValueError, match="ends at byte 6 of 4"):
        rows.string()
    with pytest.raises(ValueError, match="buffer"):
        RowBinary(b"\x02abc").array(np.dtype("<u8"))
