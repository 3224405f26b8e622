"""What queries may do, as configuration of the ClickHouse engine: privileges, table engines, limits per account.

Table functions and engines that reach beyond local tables (url(), s3(), file(), executable() ...) are not granted.

Pure except for `machine` and `write_access`. The embedded engine runs every query as its only user, so its privileges
are what *any* account may do: everything that works on local tables, and nothing that reaches a file, a program or
another machine. They are listed one by one, so features of a new engine version are not granted. Accounts differ by
their settings only; the analyst has a settings profile.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from endpoint_analytics.agents.hardware.cgroup import OwnCgroup
from endpoint_analytics.agents.hardware.memory import read_limit_bytes

_PRIVILEGES = (
    "SHOW, SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE TEMPORARY TABLE, CREATE FUNCTION, "
    "DROP, UNDROP TABLE, TRUNCATE, OPTIMIZE, CHECK, KILL QUERY, dictGet, SYSTEM FLUSH, SYSTEM MERGES, "
    "SYSTEM TTL MERGES, SYSTEM SYNC TRANSACTION LOG, SYSTEM DROP CACHE"
)

# Table and database engines whose data is in this data directory, in memory, or nowhere.
_MERGE_TREES = ("", "Replacing", "Summing", "Aggregating", "Collapsing", "VersionedCollapsing", "Coalescing")
TABLE_ENGINES = (
    *(f"{kind}MergeTree" for kind in _MERGE_TREES),
    "Memory", "Log", "TinyLog", "StripeLog", "Null", "Set", "Join", "Buffer", "View", "MaterializedView", "Merge",
    "Alias", "GenerateRandom", "Atomic",
)  # fmt: skip

ANALYST_QUERIES = 4
_ANALYST_SECONDS = 60
_MIB = 1 << 20
ANALYST_RESULT_BYTES = 1024 * _MIB

# The database with which the engine overlays the whole file system; it is `default` unless configured otherwise.
_FILES_DATABASE = "_files"

# With these, an acknowledged insert also survives a crash of the machine: 4 ms more for 10,000 rows (measured, NVMe).
_CONFIG = """<clickhouse>
    <users_config>{users}</users_config>
    <user_scripts_path>{nothing}</user_scripts_path>
    <format_schema_path>{nothing}</format_schema_path>
    <default_database>{files_database}</default_database>
    <merge_tree>
        <fsync_after_insert>1</fsync_after_insert>
        <fsync_part_directory>1</fsync_part_directory>
    </merge_tree>
</clickhouse>
"""

_USERS = """<clickhouse>
    <profiles>
        <default><readonly>0</readonly></default>
        <analyst><constraints>
{constraints}
        </constraints></analyst>
    </profiles>
    <users><default>
        <password></password>
        <networks><ip>::/0</ip></networks>
        <profile>default</profile>
        <quota>default</quota>
        <grants>
            <query>GRANT {privileges} ON *.*</query>
{engines}
        </grants>
    </default></users>
    <quotas><default></default></quotas>
</clickhouse>
"""


def writer_settings(memory_bytes: int) -> Mapping[str, str]:
    """Return the initial settings of a writer's query; the query may change them."""
    return {
        "implicit_select": "0",  # the embedded engine's default differs from a server's
        "max_memory_usage": str(memory_bytes // 2),
        "max_execution_time": "600",
    }


def analyst_limits(memory_bytes: int, cores: int) -> Mapping[str, int]:
    """Return the limits of one analyst query: both its defaults and the highest values that it may set."""
    threads = max(1, cores // 2)
    return {
        "max_execution_time": _ANALYST_SECONDS,
        "max_threads": threads,
        "max_final_threads": threads,
        "max_memory_usage": max(256 * _MIB, memory_bytes // 4 // ANALYST_QUERIES),
        "max_result_rows": 10_000_000,
        "max_result_bytes": ANALYST_RESULT_BYTES,
        "max_temporary_data_on_disk_size_for_query": 1024 * _MIB,
    }


_ANALYST_FIXED = {
    # Settings that name a file or an address for a format: to read, and the second even to write.
    "format_schema": "",
    "output_format_schema": "",
    "format_template_resultset": "",
    "format_template_row": "",
    "format_avro_schema_registry_url": "",
    "input_format_record_errors_file_path": "",
    # Settings that contain SQL, or have SQL evaluated, outside the query: `open_files` does not see it.
    "additional_result_filter": "",
    "additional_table_filters": "{}",
    "parallel_replicas_custom_key": "",
    "select": "",
    "filter": "",
    "order": "",
    "sort": "",
    "input_format_values_interpret_expressions": "0",
    "input_format_values_deduce_templates_of_expressions": "0",
    "dialect": "clickhouse",
    "implicit_select": "0",
    "timeout_overflow_mode": "throw",
    "use_query_cache": "0",
    "allow_experimental_eval_table_function": "0",
    "os_threads_nice_value_query": "10",
    "send_logs_level": "none",
}

# What the engine limits for all queries of its only user together, and which queries yield when memory is short.
_SHARED = (
    "max_memory_usage_for_user", "max_temporary_data_on_disk_size_for_user", "max_network_bandwidth_for_user",
    "max_network_bandwidth_for_all_users", "memory_overcommit_ratio_denominator",
    "memory_overcommit_ratio_denominator_for_user", "memory_usage_overcommit_max_wait_microseconds", "priority",
    "workload",
)  # fmt: skip


def analyst_settings(memory_bytes: int, cores: int) -> Mapping[str, str]:
    """Return the initial settings of an analyst's query."""
    limits = {name: str(limit) for name, limit in analyst_limits(memory_bytes, cores).items()}
    return {**_ANALYST_FIXED, **limits}


def machine() -> tuple[int, int]:
    """Return the memory in bytes and the cores that this process may use: its control group's, or the machine's."""
    own = OwnCgroup()
    whole_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return read_limit_bytes(own.files, own.read().memory, whole_bytes), cores


def write_access(directory: Path, memory_bytes: int, cores: int) -> Path:
    """Write the engine's configuration into its data directory; return the file to start it with."""
    config, users, nothing = directory / "server.xml", directory / "users.xml", directory / "nothing"
    nothing.mkdir(mode=0o500, exist_ok=True)
    users.write_text(_users(memory_bytes, cores))
    config.write_text(_CONFIG.format(users=users, nothing=nothing, files_database=_FILES_DATABASE))
    _restore_default(directory / "metadata")
    return config


def _users(memory_bytes: int, cores: int) -> str:
    limits = "".join(
        f"            <{name}><min>1</min><max>{limit}</max></{name}>\n"
        for name, limit in analyst_limits(memory_bytes, cores).items()
    )
    fixed = "\n".join(f"            <{name}><const/></{name}>" for name in (*_ANALYST_FIXED, *_SHARED))
    engines = "\n".join(f"            <query>GRANT TABLE ENGINE ON {name}</query>" for name in TABLE_ENGINES)
    return _USERS.format(constraints=limits + fixed, privileges=_PRIVILEGES, engines=engines)


def _restore_default(metadata: Path) -> None:
    """Make the engine load `default` as an ordinary database, with the tables it had while it was the file overlay.

    The engine finds the overlay's tables by a symbolic link only, and assigns them to whichever database is the
    overlay now.
    """
    metadata.mkdir(exist_ok=True)
    definition, link = metadata / "default.sql", metadata / "default"
    if not definition.exists() and (link.is_symlink() or not link.exists()):
        name = link.readlink().name if link.is_symlink() else str(uuid.uuid4())
        new = definition.with_suffix(".new")
        new.write_text(f"ATTACH DATABASE _ UUID '{name}'\nENGINE = Atomic\n")
        new.replace(definition)
    if link.is_symlink():
        link.unlink()
