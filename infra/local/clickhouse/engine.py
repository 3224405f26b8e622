"""The ClickHouse engine of `chdb` in this process: opening handles, running statements, and stopping queries.

Only calls into the ClickHouse engine belong here; they block, release the interpreter's lock, and are made from worker
threads. A handle costs 0.1 ms and has its own settings, database and temporary tables, so each request gets a
new one. Measured in chdb 4.4: handles run in parallel without blocking each other; `query` raises every error of the
engine, while `send_insert` reports success for an INSERT that failed. So everything goes through `query`, and an
INSERT reads its data from a file (FROM INFILE).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chdb.state.sqlitelike import Connection

from endpoint_analytics.infra.local.clickhouse import query_tag
from endpoint_analytics.infra.local.clickhouse.errors import ClickHouseError, parse_engine_error, refusal
from endpoint_analytics.infra.local.clickhouse.passwords import ANALYST
from endpoint_analytics.infra.local.clickhouse.privileges import (
    analyst_settings,
    machine,
    write_access,
    writer_settings,
)

_ENGINE_ERRORS = (RuntimeError, UnicodeDecodeError)


@dataclass(frozen=True, slots=True)
class QueryOutcome:
    """The result of a query: its output unless that was written elsewhere, and its counts."""

    output: bytes = b""
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_s: float = 0.0


class Handle:
    """One connection to the engine. Not thread-safe."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: bytes, result_format: str = "TabSeparated") -> QueryOutcome:
        """Run one statement to completion; raises ClickHouseError."""
        try:
            result = self._connection.query(sql, result_format)
        except _ENGINE_ERRORS as error:
            raise _as_clickhouse_error(error) from None
        return QueryOutcome(
            output=bytes(result.bytes()),
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            result_rows=result.rows_read(),
            elapsed_s=result.elapsed(),
        )

    def set(self, settings: Mapping[str, str]) -> None:
        """Apply settings with SET; names are identifiers, and the engine parses each value as the setting's type."""
        if settings:
            pairs = ", ".join(f"{name} = {quote(value)}" for name, value in settings.items())
            self.execute(f"SET {pairs}".encode(errors="surrogateescape"))

    def use(self, database: str) -> None:
        """Switch to a database."""
        self.execute(f"USE {quote_name(database)}".encode(errors="surrogateescape"))

    def close(self) -> None:
        """Close the handle; waits for a query that is still running on it."""
        self._connection.close()


class ClickHouseEngine:
    """The engine on one data directory; only one per process is possible."""

    def __init__(self, directory: Path) -> None:
        if any(character in str(directory) for character in "?&"):
            raise ValueError(f"the name of the data directory must not contain '?' or '&': {directory}")
        memory_bytes, cores = machine()
        self._source = f"{directory}?config-file={write_access(directory, memory_bytes, cores)}"
        self._writer_settings = writer_settings(memory_bytes)
        self._analyst_settings = {**analyst_settings(memory_bytes, cores), "profile": ANALYST}
        self._admin = Handle(Connection(self._source))
        self._admin_lock = threading.Lock()
        self._closed = False
        self._admin.execute(query_tag.VIEW)
        rows = self._admin.execute(b"SELECT version(), timezone(), displayName()").output.decode()
        self.version, self.timezone, self.display_name = rows.rstrip("\n").split("\t")

    def open(self, *, analyst: bool = False) -> Handle:
        """Open a handle with default settings, the database `default`, and the limits of the account."""
        if self._closed:
            raise refusal(236, "The server is stopping.")
        handle = Handle(Connection(self._source))
        handle.set(self._analyst_settings if analyst else self._writer_settings)
        return handle

    def kill(self, query_id: str) -> None:
        """Cancel the query with this client query ID, without waiting for it to end."""
        with self._admin_lock:
            if not self._closed:
                self._admin.set({"param_client_query_id": query_id})
                self._admin.execute(query_tag.KILL)

    def close(self) -> None:
        """Shut the engine down; all other handles must be closed."""
        with self._admin_lock:
            self._closed = True
            self._admin.close()


def _as_clickhouse_error(error: Exception) -> ClickHouseError:
    """Return the engine's error. Its text may contain bytes that are not UTF-8, which pybind cannot convert.

    Before Python 3.11.4 such a text is lost.
    """
    if isinstance(error, UnicodeDecodeError):
        return parse_engine_error(error.object.decode(errors="backslashreplace"))
    return parse_engine_error(str(error) or "the engine failed, and its message is not valid UTF-8.")


def quote_name(name: str) -> str:
    """Return a name as a quoted identifier of ClickHouse's SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quote(text: str) -> str:
    """Return a text as a string literal of ClickHouse's SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
