"""The writer: what it tries again for ever, and what it gives up."""

from __future__ import annotations

import asyncio
import time

import pytest

from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.store import writer
from endpoint_analytics.pipeline.store.connect import ClickHouseConfig
from endpoint_analytics.pipeline.store.errors import SchemaMissingError, StoreRefusedError
from endpoint_analytics.pipeline.store.writer import RowWriter

REJECTED = {
    "topic": "t",
    "partition": 0,
    "offset": 1,
    "append_time": f"{time.time():.3f}",  # an old row would be beyond its retention
    "reason": "empty",
    "detail": "",
    "value_bytes": 0,
}


def write(config: ClickHouseConfig, *rows: Row) -> None:
    async def main() -> None:
        row_writer = RowWriter(config)
        try:
            await row_writer.write(rows)
        finally:
            await row_writer.close()

    asyncio.run(main())


def test_rows_are_there_when_it_returns(config: ClickHouseConfig, client) -> None:
    write(config, Row("rejected", REJECTED))
    assert client.query("SELECT topic, offset, reason FROM rejected").result_rows == [("t", 1, "empty")]


def test_a_missing_table_is_given_up_after_a_while(config: ClickHouseConfig, monkeypatch) -> None:
    monkeypatch.setattr(writer, "GIVE_UP_S", 0.2)
    with pytest.raises(SchemaMissingError, match="migrate"):
        write(config, Row("nowhere", {"a": 1}))


def test_rows_that_do_not_fit_are_given_up_after_a_while(config: ClickHouseConfig, monkeypatch) -> None:
    monkeypatch.setattr(writer, "GIVE_UP_S", 0.2)
    with pytest.raises(StoreRefusedError):
        write(config, Row("rejected", REJECTED | {"no_such_column": 1}))
