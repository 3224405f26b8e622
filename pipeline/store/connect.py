"""Ready-made clients of ClickHouse, synchronous and for asyncio. Nothing here knows a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from clickhouse_connect import get_async_client, get_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.store.errors import store_error
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 30

# For the Distributed tables of a cluster with several shards; without effect on other tables.
CLUSTER_SETTINGS: Mapping[str, Any] = {
    # A subquery on another table is about all shards, wherever the query around it runs.
    "distributed_product_mode": "global",
    # A response means that the shards have the rows, not that the server will send them later.
    "distributed_foreground_insert": 1,
    "parallel_distributed_insert_select": 0,
    # One endpoint's rows are on one shard: the others need not be asked.
    "optimize_skip_unused_shards": 1,
    # Of a shard's replicas, the same one is read and written as long as it is up.
    "load_balancing": "in_order",
    "skip_unavailable_shards": 0,
}


def _options(config: ClickHouseConfig, database: str | None) -> dict[str, Any]:
    parts = urlsplit(config.url)
    return {
        "interface": parts.scheme,
        "host": parts.hostname,
        "port": parts.port or (8443 if parts.scheme == "https" else 8123),
        "proxy_path": parts.path,
        "username": config.user,
        "password": config.password,
        # Every ClickHouse has "default": connect to it to create our database.
        "database": config.database if database is None else database,
        # A session runs one query at a time; without session ids, one client's queries run concurrently.
        "autogenerate_session_id": False,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tz_mode": "aware",
        "client_name": "endpoint-analytics",
    }


def _settings(config: ClickHouseConfig) -> dict[str, Any]:
    return dict(CLUSTER_SETTINGS) if config.cluster else {}


def connect(
    config: ClickHouseConfig, *, database: str | None = None, read_timeout_s: int = READ_TIMEOUT_S
) -> Client:
    """Return a connected client; raises StoreError if the server, login or database is missing.

    Threads may share it. clickhouse-connect retries a read once if the connection is lost or the response is 429, 503
    or 504, and any request once if it cannot connect; it never retries a write that was sent.
    """
    try:
        return get_client(
            **_options(config, database),
            send_receive_timeout=read_timeout_s,
            dedicated_pool=True,
            query_retries=1,
            settings=_settings(config),
        )
    except (ClickHouseError, OSError) as error:
        raise store_error(error, config.url, database or config.database) from error


async def connect_async(
    config: ClickHouseConfig,
    *,
    database: str | None = None,
    read_timeout_s: float = READ_TIMEOUT_S,
    settings: Mapping[str, Any] | None = None,
) -> AsyncClient:
    """Return a connected asyncio client; raises as `connect` does. It belongs to the running event loop.

    `settings` are ClickHouse settings, sent with every query.
    """
    try:
        client = await get_async_client(
            **_options(config, database),
            send_receive_timeout=read_timeout_s,
            query_retries=1,
            settings=_settings(config) | dict(settings or {}),
        )
    except (ClickHouseError, OSError) as error:
        raise store_error(error, config.url, database or config.database) from error
    return client


__all__ = ["AsyncClient", "Client", "connect", "connect_async"]
