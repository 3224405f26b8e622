"""How to reach ClickHouse, from options and variables. Nothing here connects.

The password comes from the environment or from a file, never from an option or a URL (both show up in process lists),
and appears in no repr.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from endpoint_analytics.schemas.configuration.command_line import refuse_secrets
from endpoint_analytics.schemas.configuration.config_file import our_environment
from endpoint_analytics.schemas.configuration.secret import read_secret
from endpoint_analytics.schemas.configuration.settings import (
    ConfigurationError,
    invalid_setting,
    parse_url,
    read_text,
    variable_of,
)

DEFAULT_URL = "http://127.0.0.1:8123"
DEFAULT_DATABASE = "endpoint_analytics"

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
        parts = parse_url("clickhouse_url", self.url, error=_invalid)
        if parts.username or parts.password:
            raise ClickHouseConfigError(
                f"the ClickHouse URL contains a login: use {_PREFIX}USER and {_PREFIX}PASSWORD instead"
            )
        if parts.query or parts.fragment:
            raise _invalid("clickhouse_url", self.url, "it must not contain '?' or '#'")
        if not _IDENTIFIER.fullmatch(self.database):
            raise _invalid("clickhouse_database", self.database)
        if not _CLUSTER.fullmatch(self.cluster):
            raise _invalid("clickhouse_cluster", self.cluster)


def _invalid(name: str, value: str, why: str = "") -> ClickHouseConfigError:
    return ClickHouseConfigError(str(invalid_setting(name, value, why)))


def read_clickhouse_config(environment: Mapping[str, str] | None = None) -> ClickHouseConfig:
    """Return the configuration from ENDPOINT_ANALYTICS_CLICKHOUSE_* variables, with defaults for the rest."""
    given = our_environment() if environment is None else environment
    return ClickHouseConfig(
        url=read_text(given, "clickhouse_url") or DEFAULT_URL,
        user=read_text(given, "clickhouse_user") or "default",
        password=read_secret(given, "clickhouse_password"),
        database=read_text(given, "clickhouse_database") or DEFAULT_DATABASE,
        cluster=read_text(given, "clickhouse_cluster"),
    )


def add_clickhouse_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `clickhouse_of` reads; each takes precedence over its environment variable."""
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


def clickhouse_of(
    arguments: argparse.Namespace, environment: Mapping[str, str] | None = None
) -> ClickHouseConfig:
    """Return the configuration from parsed flags and the environment; raises ConfigurationError."""
    given = our_environment() if environment is None else dict(environment)
    if arguments.clickhouse_password_file:
        given[variable_of("clickhouse_password_file")] = arguments.clickhouse_password_file
        given.pop(variable_of("clickhouse_password"), None)
    base = read_clickhouse_config(given)
    return ClickHouseConfig(
        url=arguments.clickhouse_url or base.url,
        user=arguments.clickhouse_user or base.user,
        password=base.password,
        database=arguments.clickhouse_database or base.database,
        cluster=base.cluster if arguments.clickhouse_cluster is None else arguments.clickhouse_cluster,
    )
