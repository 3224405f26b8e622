"""The roller's loop and its own connection: looks every few seconds for windows to roll up, as long as we serve.

Each query service does it. It is right with any number of them, and cheap: a look that another one has just
made is passed over. An outage is said once, and its looks are made up for afterwards.
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
"""Rolling up a busy endpoint's backlog takes longer than a person waits for an answer."""


class RollupConnection:
    """Runs the roller's statements; belongs to one event loop."""

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
                read_timeout_s=STATEMENT_TIMEOUT_S,
                settings={"max_execution_time": STATEMENT_TIMEOUT_S},
            )
        return self._client

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()


async def roll_for_ever(config: ClickHouseConfig, every_s: float) -> None:
    """Roll up every `every_s` seconds, with jitter, until cancelled."""
    connection = RollupConnection(config)
    chance = random.Random()  # noqa: S311 - spreads looks, guards nothing
    failing = False
    try:
        while True:
            await asyncio.sleep(every_s * chance.uniform(0.75, 1.25))
            try:
                if not await _just_looked(connection, every_s / 2):
                    await roll_up(connection)
            except StoreError as error:
                if not failing:
                    log.error("windows are not rolled up, and it is tried again until it works: %s", error)
                failing = True
            else:
                if failing:
                    log.info("windows are rolled up again")
                failing = False
    finally:
        await connection.close()


async def _just_looked(connection: RollupConnection, within_s: float) -> bool:
    """Whether another roller has just looked at everything that there is to look at."""
    states = await read_states(connection)
    if len(states) < len(TARGETS):
        return False
    now = (await connection.read(NOW, {}))[0][0]
    oldest = min(state.looked_at for state in states.values())
    return bool((now - oldest).total_seconds() < within_s)
