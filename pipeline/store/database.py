"""A service's connection to ClickHouse: connects on first use, limits the time of each query, and counts queries.

It starts without ClickHouse and connects once it is available. No SQL belongs here.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.store.connect import AsyncClient, connect_async
from endpoint_analytics.pipeline.store.errors import StoreError, StoreUnreachableError, store_error
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig

log = logging.getLogger(__name__)

_T = TypeVar("_T")

QUERY_TIMEOUT_S = 5.0
CONCURRENT_QUERIES = 16


@dataclass(slots=True)
class QueryCounts:
    """Queries since the start, and those that failed."""

    queries: int = 0
    errors: int = 0


class Database:
    """Runs the queries and statements of `store`. Belongs to one event loop."""

    def __init__(self, config: ClickHouseConfig) -> None:
        self.counts = QueryCounts()
        self._config = config
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._failing = False
        self._slots = asyncio.Semaphore(CONCURRENT_QUERIES)

    @property
    def where(self) -> str:
        """Return the database and its URL, for messages."""
        return f"database {self._config.database!r} at {self._config.url}"

    @property
    def cluster(self) -> str:
        """Return the cluster's name, empty for a single server."""
        return self._config.cluster

    async def read(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Return the query's rows; raises StoreError. Takes at most QUERY_TIMEOUT_S."""
        return await self._counted(self._read(sql, parameters))

    async def read_binary(self, sql: str, parameters: Mapping[str, Any]) -> bytes:
        """Return the query's rows in RowBinary format; otherwise as `read`."""
        return await self._counted(self._read_binary(sql, parameters))

    async def write(self, sql: str, parameters: Mapping[str, Any]) -> None:
        """Run the statement, within QUERY_TIMEOUT_S; raises StoreError: then it may or may not have been executed."""
        await self._counted(self._read(sql, parameters))

    async def _counted(self, query: Awaitable[_T]) -> _T:
        self.counts.queries += 1
        try:
            rows = await query
        except StoreError as error:
            self.counts.errors += 1
            if not self._failing:
                log.error("a query failed; further failures are only counted until one succeeds: %s", error)
            self._failing = True
            raise
        if self._failing:
            log.info("ClickHouse answers again")
            self._failing = False
        return rows

    async def _read(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        async with self._limited() as client:
            return (await client.query(sql, parameters=dict(parameters))).result_rows

    async def _read_binary(self, sql: str, parameters: Mapping[str, Any]) -> bytes:
        # Or else a query that fails half-way has sent its status and some of the rows before.
        settings = {"wait_end_of_query": 1}
        async with self._limited() as client:
            return await client.raw_query(sql, dict(parameters), settings, fmt="RowBinary")

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[AsyncClient]:
        """Yield the client for one query; raises StoreError if that fails or takes too long."""
        try:
            async with asyncio.timeout(QUERY_TIMEOUT_S), self._slots:
                yield await self._connected()
        except TimeoutError as error:
            raise StoreUnreachableError(
                f"ClickHouse at {self._config.url} did not answer within {QUERY_TIMEOUT_S:g} s: "
                "check whether it is overloaded"
            ) from error
        except (ClickHouseError, OSError) as error:
            raise store_error(error, self._config.url, self._config.database) from error

    async def _connected(self) -> AsyncClient:
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    # ClickHouse keeps running a query after its client disconnects, unless a limit stops it.
                    self._client = await connect_async(
                        self._config,
                        read_timeout_s=QUERY_TIMEOUT_S,
                        settings={"max_execution_time": math.ceil(QUERY_TIMEOUT_S)},
                    )
        return self._client

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None
