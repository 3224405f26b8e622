"""The writer: what it retries forever, and what it gives up."""

from __future__ import annotations

import asyncio
import time

import pytest

from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.store.writer import RowWriter
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig

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


@pytest.mark.parametrize(
    ("refuse", "accept", "says"),
    [
        ("RENAME TABLE rejected TO gone", "RENAME TABLE gone TO rejected", "migrate"),
        (
            "ALTER TABLE rejected RENAME COLUMN value_bytes TO size",
            "ALTER TABLE rejected RENAME COLUMN size TO value_bytes",
            "value_bytes",
        ),
        (
            "ALTER TABLE rejected ADD CONSTRAINT refusing CHECK 0",
            "ALTER TABLE rejected DROP CONSTRAINT refusing",
            "VIOLATED_CONSTRAINT",
        ),
    ],
)
def test_a_refusal_is_waited_out_and_says_why(config, client, refuse, accept, says) -> None:
    async def main() -> None:
        row_writer = RowWriter(config)
        client.command(refuse)
        writing = asyncio.ensure_future(row_writer.write([Row("rejected", REJECTED | {"topic": says})]))
        while row_writer.failures < 2 and not writing.done():
            await asyncio.sleep(0.01)
        assert says in row_writer.failure
        client.command(accept)
        await writing
        assert row_writer.failure == ""
        await row_writer.close()

    asyncio.run(main())
    found = client.query(
        "SELECT offset FROM rejected FINAL WHERE topic = {topic:String}", parameters={"topic": says}
    )
    assert found.result_rows == [(1,)]
