"""The rollup loop and its own connection: checks every few seconds for windows to roll up while the service runs.

Every query service runs it. Any number of them give correct results, and cheaply: a check that another one has just
made is skipped. An outage is logged once, and the missed rollups are made up for afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.store.connect import AsyncClient, connect_async
from endpoint_analytics.pipeline.store.errors import StoreError, store_error
from endpoint_analytics.pipeline.store.rollup import TARGETS, read_states, roll_up
from endpoint_analytics.pipeline.store.rollup_sql import NOW
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig

log = logging.getLogger(__name__)

STATEMENT_TIMEOUT_S = 120
"""Rolling up a busy endpoint's backlog takes longer than an interactive query may."""


class RollupConnection:
    """Runs the rollup statements. Belongs to one event loop."""

    def __init__(self, config: ClickHouseConfig) -> None:
        self._config = config
        self._client: AsyncClient | None = None

    async def read(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Return the rows; raises StoreError."""
        try:
            client = await self._connected()
            return (await client.query(sql, parameters=dict(parameters))).result_rows
        except (ClickHouseError, OSError) as error:
            raise store_error(error, self._config.url, self._config.database) from error

    async def execute(self, sql: str, parameters: Mapping[str, Any]) -> None:
        """Run a statement; raises StoreError."""
        try:
            client = await self._connected()
            await client.command(sql, parameters=dict(parameters))
        except (ClickHouseError, OSError) as error:
            raise store_error(error, self._config.url, self._config.database) from error

    async def _connected(self) -> AsyncClient:
        if self._client is None:
            self._client = await connect_async(
                self._config,
                read_timeout_s=STATEMENT_TIMEOUT_S + 10,  # ClickHouse's own word comes first
                settings={"max_execution_time": STATEMENT_TIMEOUT_S},
            )
        return self._client

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()


async def roll_forever(config: ClickHouseConfig, every_s: float) -> None:
    """Roll up every `every_s` seconds, with jitter, until cancelled."""
    connection = RollupConnection(config)
    chance = random.Random()  # noqa: S311 - jitter only, nothing secret
    failing = False
    try:
        while True:
            await asyncio.sleep(every_s * chance.uniform(0.75, 1.25))
            try:
                if not await _just_looked(connection, every_s / 2):
                    await roll_up(connection)
            except StoreError as error:
                if not failing:
                    log.error("rolling up windows failed; retrying until it succeeds: %s", error)
                failing = True
            else:
                if failing:
                    log.info("rolling up windows works again")
                failing = False
    finally:
        await connection.close()


async def _just_looked(connection: RollupConnection, within_s: float) -> bool:
    """Whether another query service has just checked all rollup targets."""
    states = await read_states(connection)
    if len(states) < len(TARGETS):
        return False
    now = (await connection.read(NOW, {}))[0][0]
    oldest = min(state.looked_at for state in states.values())
    return bool((now - oldest).total_seconds() < within_s)
