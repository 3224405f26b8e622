"""Checks of ClickHouse: reached, logged in, its version, clock, disks, tables, rights, and the cluster's replicas."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence

from endpoint_analytics.infra.doctor.finding import Finding, failure, ok, warning
from endpoint_analytics.pipeline.store.database import Database
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.migrate import APPLIED, schema_state
from endpoint_analytics.schemas.configuration.clickhouse_config import ClickHouseConfig
from endpoint_analytics.schemas.migrations import read_migrations

LEAST_VERSION = (24, 8)
"""The oldest long-term support version that is still maintained with what our views use."""
LARGEST_SKEW_S = 2.0
LEAST_FREE = 0.1
_WRITTEN = (
    "request_windows",
    "boots",
    "boot_states",
    "request_minutes",
    "rollups",
    "tokens",
    "page_sessions",
)
"""A table of each part that writes: worker, rollup, tokens, the page."""

SERVER = "SELECT version(), toUnixTimestamp64Milli(now64(3)), currentUser()"
DISKS = "SELECT name, free_space, total_space FROM system.disks WHERE total_space > 0"
# Without a row, only the rights are checked.
MAY_WRITE = "INSERT INTO {table} SELECT * FROM {table} WHERE 0"
REPLICAS = """
SELECT table, is_readonly, active_replicas, total_replicas, absolute_delay
FROM system.replicas WHERE database IN (currentDatabase(), currentDatabase() || '_shard')
"""


async def check_clickhouse(database: Database, config: ClickHouseConfig) -> AsyncIterator[Finding]:
    """Yield what is found."""
    sent_s = time.time()
    try:
        ((version, server_ms, user),) = await database.read(SERVER, {})
    except StoreError as error:
        fix = "use a user that may write, and limit its own queries; this one is for reading"
        yield failure("ClickHouse", str(error), fix if "readonly" in str(error) else "")
        return
    took_s = time.time() - sent_s
    yield check_version(version, config.url, user)
    if (skew_s := least_skew_s(server_ms / 1000, sent_s, took_s)) > LARGEST_SKEW_S:
        yield failure(
            "ClickHouse",
            f"its clock differs from this machine's by {skew_s:.0f} s: what is recent is judged wrongly",
            "synchronize the clocks of all machines (chrony, systemd-timesyncd)",
        )
    try:
        schema_state(read_migrations(), await database.read(APPLIED, {})).check(database.where)
    except StoreError as error:
        yield failure("ClickHouse", str(error))
        return
    yield ok("ClickHouse", f"{database.where} has the tables of this version")
    for finding in await _rights(database):
        yield finding
    for finding in await _disks(database):
        yield finding
    if config.cluster:
        for finding in await _replicas(database):
            yield finding


def least_skew_s(server_s: float, sent_s: float, took_s: float) -> float:
    """Return how much two clocks differ at least, if the other one was read at any moment of a query."""
    return max(server_s - sent_s - took_s, sent_s - server_s, 0.0)


def check_version(version: str, url: str, user: str) -> Finding:
    """Return whether the server's version is one that this package is made for."""
    numbers = tuple(int(part) for part in version.split(".")[:2])
    text = f"version {version} at {url}, as {user}"
    if numbers < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        return failure("ClickHouse", f"{text}: older than {least}", f"upgrade the server to {least} or newer")
    return ok("ClickHouse", text)


async def _rights(database: Database) -> Sequence[Finding]:
    refused = []
    for table in _WRITTEN:
        try:
            await database.write(MAY_WRITE.format(table=table), {})
        except StoreError as error:
            refused.append((table, str(error)))
    if refused:
        tables = ", ".join(table for table, _ in refused)
        return [
            failure(
                "ClickHouse",
                f"this user may not read and write {tables}: {refused[0][1]}",
                "GRANT SELECT, INSERT ON the database's tables to it (migrate needs ALTER and CREATE, too)",
            )
        ]
    return [ok("ClickHouse", "this user may read and write the tables")]


async def _disks(database: Database) -> Sequence[Finding]:
    try:
        rows = await database.read(DISKS, {})
    except StoreError:
        return [
            warning(
                "ClickHouse", "its disks are not visible to this user", "GRANT SELECT ON system.disks to it"
            )
        ]
    return [
        warning(
            "ClickHouse",
            f"disk {name} has {free >> 30} of {total >> 30} GiB free",
            "give it a larger disk, or shorten ENDPOINT_ANALYTICS_RETENTION_10S_DAYS and run migrate",
        )
        if free < LEAST_FREE * total
        else ok("ClickHouse", f"disk {name} has {free >> 30} of {total >> 30} GiB free")
        for name, free, total in rows
    ]


async def _replicas(database: Database) -> Sequence[Finding]:
    try:
        rows = await database.read(REPLICAS, {})
    except StoreError as error:
        return [
            warning(
                "ClickHouse",
                f"its replicas are not visible to this user: {error}",
                "GRANT SELECT ON system.replicas to it",
            )
        ]
    found = []
    for table, is_readonly, active, total, delay_s in rows:
        if is_readonly:
            found.append(
                failure(
                    "ClickHouse", f"{table} is read-only", "check ClickHouse Keeper, and the server's log"
                )
            )
        elif active < total:
            found.append(
                warning("ClickHouse", f"{table}: {active} of {total} replicas are active", "start the others")
            )
        elif delay_s > 60:
            found.append(
                warning(
                    "ClickHouse", f"{table}: this replica is {delay_s} s behind", "wait, or check its disk"
                )
            )
    return found or [ok("ClickHouse", f"{len(rows)} replicated tables, all replicas active")]
