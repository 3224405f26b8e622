"""Writing the fold's rows to ClickHouse: one insert a table, repeated until it is stored.

Rows are absolute and replace themselves, so that an insert whose answer was lost is simply made again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable

import orjson
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.core.rows import Row
from endpoint_analytics.pipeline.store.connect import connect_async
from endpoint_analytics.pipeline.store.errors import StoreError, store_error
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0

# A row without a column would be stored with a default, and an unknown column left out: both are bugs of ours.
_SETTINGS = {
    "input_format_skip_unknown_fields": 0,
    "input_format_defaults_for_omitted_fields": 0,
    # An answer says that the rows are stored, and a repeated block goes through to the views behind the table.
    "async_insert": 0,
    "insert_deduplicate": 0,
}
# On a cluster: rows that are acknowledged are on a majority of replicas.
_CLUSTER_SETTINGS = {"insert_quorum": "auto"}


def encode_rows(rows: Iterable[Row]) -> dict[str, bytes]:
    """Return the rows of each table as lines of JSON (ClickHouse's JSONEachRow)."""
    lines: dict[str, list[bytes]] = {}
    for row in rows:
        encoded = orjson.dumps(row.values, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
        lines.setdefault(row.table, []).append(encoded)
    return {table: b"".join(parts) for table, parts in lines.items()}


class RowWriter:
    """Stores rows, waiting out an outage of ClickHouse.

    An outage lasts as long as it lasts, and a refusal too: a table that is missing, a password that is wrong,
    a view of somebody's that throws are put right sooner or later, and whoever has gone by then stores nothing.
    `failure` says why meanwhile; `rows` and `failures` count.
    """

    def __init__(self, config: ClickHouseConfig) -> None:
        self._config = config
        self._settings = _SETTINGS | (_CLUSTER_SETTINGS if config.cluster else {})
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._random = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._failing: dict[str, str] = {}
        self.failures = 0
        self.rows = 0

    @property
    def failure(self) -> str:
        """Why some rows could not be stored at the newest try; empty when all could."""
        return next(iter(self._failing.values()), "")

    async def write(self, rows: Iterable[Row]) -> None:
        """Return when all rows are stored.

        Tries again, with growing pauses, for as long as it takes: the caller holds these rows and reads no
        more meanwhile, so that memory stays bounded and nothing is lost.
        """
        rows = list(rows)
        # What `chunks` says is stored is stored: its rows come last.
        await self._write(encode_rows(row for row in rows if row.table != "chunks"))
        await self._write(encode_rows(row for row in rows if row.table == "chunks"))
        self.rows += len(rows)

    async def _write(self, blocks: dict[str, bytes]) -> None:
        wait_s = FIRST_WAIT_S
        while blocks:
            results = await asyncio.gather(
                *(self._insert(table, block) for table, block in blocks.items()), return_exceptions=True
            )
            failed = {table: error for table, error in zip(blocks, results, strict=True) if error is not None}
            for error in failed.values():
                if not isinstance(error, StoreError):
                    raise error
            for table in blocks:
                self._failing.pop(table, None)
            self._failing |= {table: str(error) for table, error in failed.items()}
            blocks = {table: blocks[table] for table in failed}
            if failed:
                self.failures += len(failed)
                log.warning("rows are not stored yet, next try in %.1f s: %s", wait_s, self.failure)
                await asyncio.sleep(wait_s * self._random.uniform(0.75, 1.25))
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def wait_until_it_answers(self) -> None:
        """Return once ClickHouse has let us in; `failure` says why not meanwhile."""
        wait_s = FIRST_WAIT_S
        self._failing[""] = "ClickHouse has not answered yet"
        while True:
            try:
                await (await self.client()).command("SELECT 1")
            except (StoreError, ClickHouseError, OSError) as error:
                if str(error) != self._failing.get(""):
                    log.warning("nothing is read before ClickHouse answers, which is tried again: %s", error)
                self._failing[""] = str(error)
                self.failures += 1
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            else:
                self._failing.pop("", None)
                return

    async def client(self) -> AsyncClient:
        """Return the connected client; raises StoreError."""
        async with self._connecting:  # who comes meanwhile would connect too, and one would be lost
            if self._client is None:
                self._client = await connect_async(self._config)
            return self._client

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()

    async def _insert(self, table: str, block: bytes) -> None:
        client = await self.client()
        try:
            await client.raw_insert(table, insert_block=block, settings=self._settings, fmt="JSONEachRow")
        except (ClickHouseError, OSError, TimeoutError) as error:
            wrapped = error if isinstance(error, ClickHouseError) else OSError(str(error))
            raise store_error(wrapped, self._config.url, self._config.database) from error
