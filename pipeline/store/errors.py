"""Errors of talking to ClickHouse. Only exceptions, and classifying them, belong here.

Every message says what failed, where, and how to fix it.
"""

from __future__ import annotations

from clickhouse_connect.driver.exceptions import ClickHouseError, Error, OperationalError

# Codes from ClickHouse's src/Common/ErrorCodes.cpp.
_UNKNOWN_TABLE = 60
_UNKNOWN_DATABASE = 81
_AUTHENTICATION = {192, 193, 194, 516}


class StoreError(Exception):
    """ClickHouse could not process a request."""


class StoreUnreachableError(StoreError):
    """No ClickHouse answers at the configured URL."""


class StoreLoginError(StoreError):
    """ClickHouse does not accept the configured user and password."""


class SchemaMissingError(StoreError):
    """The database or a table does not exist yet."""


class SchemaNewerError(StoreError):
    """The database was migrated by a newer version of this package than the running one."""


class SchemaOtherError(StoreError):
    """The database was made by an unreleased version of this package, with other tables."""


def store_error(error: ClickHouseError | OSError, url: str, database: str) -> StoreError:
    """Return our error for one that clickhouse-connect raised; `url` must not contain a password."""
    code = error.code if isinstance(error, Error) else None
    name = error.name if isinstance(error, Error) else None
    if code == _UNKNOWN_DATABASE or name == "UNKNOWN_DATABASE":
        return SchemaMissingError(
            f"ClickHouse at {url} has no database {database!r}: run 'endpoint-analytics migrate'"
        )
    if code == _UNKNOWN_TABLE or name == "UNKNOWN_TABLE":
        return SchemaMissingError(
            f"database {database!r} at {url} lacks a table: run 'endpoint-analytics migrate' ({error})"
        )
    if code in _AUTHENTICATION:
        return StoreLoginError(
            f"ClickHouse at {url} refuses the user or the password: set ENDPOINT_ANALYTICS_CLICKHOUSE_USER "
            "and ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD or ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD_FILE "
            "(with `make run`: data/clickhouse.default-password)"
        )
    if code is None and isinstance(error, OperationalError | OSError):
        return StoreUnreachableError(
            f"no ClickHouse answers at {url}: start it, or set ENDPOINT_ANALYTICS_CLICKHOUSE_URL "
            f"({_root(error)})"
        )
    return StoreError(f"ClickHouse at {url} returned an error: {error}")


def _root(error: BaseException) -> str:
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return f"{type(error).__name__}: {error}"
