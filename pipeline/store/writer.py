"""Writes the fold's rows to ClickHouse: one insert per table, retried until it is stored.

Rows are absolute and replace older versions, so an insert whose response was lost is simply repeated.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import orjson
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.core.row_block import RowBlock, concatenate
from endpoint_analytics.pipeline.core.rows import Row, Rows
from endpoint_analytics.pipeline.store.connect import connect_async
from endpoint_analytics.pipeline.store.errors import StoreError, store_error
from endpoint_analytics.pipeline.store.native_format import encode_block
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig

Value = TypeVar("Value")

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0

# An unknown column would be ignored, and a missing one filled by an expression: both would hide our own bugs. A missing
# one is still accepted, as 0 or empty, in either format; test_sql_agrees compares every column.
_SETTINGS = {
    "input_format_skip_unknown_fields": 0,
    "input_format_defaults_for_omitted_fields": 0,
    # A response means that the rows are stored, and a repeated block still reaches the table's materialized views.
    "async_insert": 0,
    "insert_deduplicate": 0,
    # An insert is small, and its keys are distinct: threads and a merge of its rows would be a third of its cost.
    "max_threads": 1,
    "input_format_parallel_parsing": 0,
    "optimize_on_insert": 0,
}
# Boots claim that their batches are counted, and `chunks` that all is stored: windows come first, `chunks` last.
_TURNS = {"boots": 1, "boot_states": 1, "chunks": 2}
# On a cluster, acknowledged rows are on a majority of the ClickHouse replicas.
_CLUSTER_SETTINGS = {"insert_quorum": "auto"}


class Insert(NamedTuple):
    """The rows of one INSERT, encoded."""

    table: str
    format: str
    data: bytes


def encode_rows(rows: Iterable[Row | RowBlock]) -> list[Insert]:
    """Return one insert for each table: of blocks in the Native format, of single rows as lines of JSON."""
    blocks: dict[str, list[RowBlock]] = {}
    lines: dict[str, list[bytes]] = {}
    for row in rows:
        if isinstance(row, RowBlock):
            blocks.setdefault(row.table, []).append(row)
        else:
            lines.setdefault(row.table, []).append(orjson.dumps(row.values, option=orjson.OPT_APPEND_NEWLINE))
    inserts = [Insert(name, "Native", encode_block(concatenate(each))) for name, each in blocks.items()]
    return inserts + [Insert(name, "JSONEachRow", b"".join(each)) for name, each in lines.items()]


class RowWriter:
    """Stores rows, retrying through outages of ClickHouse.

    Outages and refusals (a missing table, a wrong password, a user's view that throws) are retried without limit: they
    are fixed sooner or later, and a process that gave up would store nothing. Meanwhile `failure` gives the reason;
    `rows` and `failures` count.
    """

    def __init__(self, config: ClickHouseConfig) -> None:
        self._config = config
        self._settings = _SETTINGS | (_CLUSTER_SETTINGS if config.cluster else {})
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._random = random.Random()  # noqa: S311 - jitter only, nothing secret
        self._failing: dict[str, str] = {}
        self.failures = 0
        self.rows = 0

    @property
    def failure(self) -> str:
        """Return why the latest attempt failed for some rows; empty if it succeeded for all."""
        return next(iter(self._failing.values()), "")

    async def write(self, rows: Rows) -> None:
        """Store the rows; returns once all of them are stored.

        Retries with increasing delays for as long as it takes. Meanwhile the caller holds these rows and soon reads no
        more, so that memory stays bounded and nothing is lost.
        """
        for turn in range(3):
            await self._write(encode_rows(row for row in rows if _TURNS.get(row.table, 0) == turn))
        self.rows += sum(row.count if isinstance(row, RowBlock) else 1 for row in rows)

    async def _write(self, inserts: Sequence[Insert]) -> None:
        wait_s = FIRST_WAIT_S
        while inserts:
            results = await asyncio.gather(*map(self._insert, inserts), return_exceptions=True)
            failed = [
                (insert, error) for insert, error in zip(inserts, results, strict=True) if error is not None
            ]
            for _, error in failed:
                if not isinstance(error, StoreError):
                    raise error
            for insert in inserts:
                self._failing.pop(insert.table, None)
            self._failing |= {insert.table: str(error) for insert, error in failed}
            inserts = [insert for insert, _ in failed]
            if failed:
                self.failures += len(failed)
                log.warning("rows could not be stored, retrying in %.1f s: %s", wait_s, self.failure)
                await asyncio.sleep(wait_s * self._random.uniform(0.75, 1.25))
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def wait_until_it_answers(self) -> None:
        """Wait until ClickHouse accepts a connection; meanwhile `failure` gives the reason."""
        wait_s = FIRST_WAIT_S
        self._failing[""] = "ClickHouse has not responded yet"
        while True:
            try:
                await (await self.client()).command("SELECT 1")
            except (StoreError, ClickHouseError, OSError) as error:
                if str(error) != self._failing.get(""):
                    log.warning("waiting for ClickHouse before reading from Kafka, retrying: %s", error)
                self._failing[""] = str(error)
                self.failures += 1
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            else:
                self._failing.pop("", None)
                return

    async def client(self) -> AsyncClient:
        """Return the connected client; raises StoreError."""
        async with self._connecting:  # concurrent callers would each connect, and one connection would leak
            if self._client is None:
                self._client = await connect_async(self._config)
            return self._client

    async def read(self, read: Callable[[AsyncClient], Awaitable[Value]]) -> Value:
        """Return what `read` reads through the client; raises StoreError, which says how to fix it."""
        client = await self.client()
        try:
            return await read(client)
        except (ClickHouseError, OSError) as error:
            raise store_error(error, self._config.url, self._config.database) from error

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()

    async def _insert(self, insert: Insert) -> None:
        client = await self.client()
        try:
            await client.raw_insert(
                insert.table, insert_block=insert.data, settings=self._settings, fmt=insert.format
            )
        except (ClickHouseError, OSError, TimeoutError) as error:
            wrapped = error if isinstance(error, ClickHouseError) else OSError(str(error))
            raise store_error(wrapped, self._config.url, self._config.database) from error
