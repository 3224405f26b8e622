"""How to reach ClickHouse: configuration and ready-made clients.

Nothing here knows about tables. The password comes from the environment or from a file, never from a flag or a URL
(both show up in process lists), and appears in no repr.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from clickhouse_connect import get_async_client, get_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from endpoint_analytics.pipeline.store.errors import StoreError, store_error
from endpoint_analytics.schemas.command_line import refuse_secrets
from endpoint_analytics.schemas.secret import read_secret
from endpoint_analytics.schemas.settings import ConfigurationError, parse_url, read_text, variable_of, wrong

DEFAULT_URL = "http://127.0.0.1:8123"
DEFAULT_DATABASE = "endpoint_analytics"
CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 30

_PREFIX = "ENDPOINT_ANALYTICS_CLICKHOUSE_"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_CLUSTER = re.compile(r"[A-Za-z0-9_.{}-]{0,64}", re.ASCII)


class ClickHouseConfigError(ConfigurationError):
    """A ClickHouse setting is invalid."""


@dataclass(frozen=True, slots=True)
class ClickHouseConfig:
    """URL, login and database; `cluster` is empty for a single server."""

    url: str = DEFAULT_URL
    user: str = "default"
    password: str = field(default="", repr=False)
    database: str = DEFAULT_DATABASE
    cluster: str = ""

    def __post_init__(self) -> None:
        parts = parse_url("clickhouse_url", self.url, error=_wrong)
        if parts.username or parts.password:
            raise ClickHouseConfigError(
                f"the ClickHouse URL contains a login: use {_PREFIX}USER and {_PREFIX}PASSWORD instead"
            )
        if parts.query or parts.fragment:
            raise _wrong("clickhouse_url", self.url, "it must not contain '?' or '#'")
        if not _IDENTIFIER.fullmatch(self.database):
            raise _wrong("clickhouse_database", self.database)
        if not _CLUSTER.fullmatch(self.cluster):
            raise _wrong("clickhouse_cluster", self.cluster)


def _wrong(name: str, value: str, why: str = "") -> ClickHouseConfigError:
    return ClickHouseConfigError(str(wrong(name, value, why)))


def environment_config(environment: Mapping[str, str] | None = None) -> ClickHouseConfig:
    """Return the configuration from ENDPOINT_ANALYTICS_CLICKHOUSE_* variables, with defaults for the rest."""
    given = os.environ if environment is None else environment
    return ClickHouseConfig(
        url=read_text(given, "clickhouse_url") or DEFAULT_URL,
        user=read_text(given, "clickhouse_user") or "default",
        password=read_secret(given, "clickhouse_password"),
        database=read_text(given, "clickhouse_database") or DEFAULT_DATABASE,
        cluster=read_text(given, "clickhouse_cluster"),
    )


def add_clickhouse_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `clickhouse_config` reads; each takes precedence over its environment variable."""
    group = parser.add_argument_group(
        "ClickHouse",
        f"the password is read from a file or from {_PREFIX}PASSWORD; flags take precedence over variables",
    )
    group.add_argument(
        "--clickhouse-url", metavar="URL", help=f"HTTP interface (env: {_PREFIX}URL; default: {DEFAULT_URL})"
    )
    group.add_argument(
        "--clickhouse-user", metavar="NAME", help=f"user name (env: {_PREFIX}USER; default: default)"
    )
    group.add_argument(
        "--clickhouse-password-file",
        metavar="FILE",
        help=f"file whose first line is the user's password (env: {_PREFIX}PASSWORD_FILE)",
    )
    refuse_secrets(group, "--clickhouse-password")
    group.add_argument(
        "--clickhouse-database",
        metavar="NAME",
        help=f"database name (env: {_PREFIX}DATABASE; default: {DEFAULT_DATABASE})",
    )
    group.add_argument(
        "--clickhouse-cluster",
        metavar="NAME",
        help=f"cluster name (env: {_PREFIX}CLUSTER; default: none, a single server)",
    )


def clickhouse_config(
    arguments: argparse.Namespace, environment: Mapping[str, str] | None = None
) -> ClickHouseConfig:
    """Return the configuration from parsed flags and the environment; raises ConfigurationError."""
    given = dict(os.environ if environment is None else environment)
    if arguments.clickhouse_password_file:
        given[variable_of("clickhouse_password_file")] = arguments.clickhouse_password_file
        given.pop(variable_of("clickhouse_password"), None)
    base = environment_config(given)
    return ClickHouseConfig(
        url=arguments.clickhouse_url or base.url,
        user=arguments.clickhouse_user or base.user,
        password=base.password,
        database=arguments.clickhouse_database or base.database,
        cluster=base.cluster if arguments.clickhouse_cluster is None else arguments.clickhouse_cluster,
    )


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
            settings=dict(settings or {}),
        )
    except (ClickHouseError, OSError) as error:
        raise store_error(error, config.url, database or config.database) from error
    return client


__all__ = [
    "AsyncClient",
    "ClickHouseConfig",
    "ClickHouseConfigError",
    "Client",
    "StoreError",
    "add_clickhouse_arguments",
    "clickhouse_config",
    "connect",
    "connect_async",
    "environment_config",
]
