"""What queries may do, in the engine's own words: privileges, table engines, and limits for each account.

Pure but for `machine` and `write_access`. The embedded engine runs every query as its one user, so privileges are what
*any* account may do: all that works on tables here, and nothing that reaches a file, a program or another machine. They
are named one by one: what a new version of the engine brings is not granted. An account is a settings profile on top.
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

# Engines of tables and databases whose data lie in this data directory, in memory, or nowhere.
_MERGE_TREES = ("", "Replacing", "Summing", "Aggregating", "Collapsing", "VersionedCollapsing", "Coalescing")
ENGINES = (
    *(f"{kind}MergeTree" for kind in _MERGE_TREES),
    "Memory", "Log", "TinyLog", "StripeLog", "Null", "Set", "Join", "Buffer", "View", "MaterializedView", "Merge",
    "Alias", "GenerateRandom", "Atomic",
)  # fmt: skip

ANALYST_QUERIES = 4
_ANALYST_SECONDS = 60
_MIB = 1 << 20
ANALYST_RESULT_BYTES = 1024 * _MIB

# The database that the engine lays over the whole file system; it is `default` unless told otherwise.
_FILES_DATABASE = "_files"

# An acknowledged insert survives the machine's crash too: 4 ms more for 10,000 rows (measured, NVMe).
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
    """What a query of the writer begins with; it may set other values."""
    return {
        "implicit_select": "0",  # where the embedded engine's default is not that of a server
        "max_memory_usage": str(memory_bytes // 2),
        "max_execution_time": "600",
    }


def analyst_limits(memory_bytes: int, cores: int) -> Mapping[str, int]:
    """The most that one query of an analyst may have: its default, and the highest that it may set."""
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
    # What names a file or an address for a format: to read, and the second even to write.
    "format_schema": "",
    "output_format_schema": "",
    "format_template_resultset": "",
    "format_template_row": "",
    "format_avro_schema_registry_url": "",
    "input_format_record_errors_file_path": "",
    # What is SQL, or has SQL evaluated, and is no query: `open_files` does not see it.
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
    "result_overflow_mode": "throw",
    "use_query_cache": "0",
    "allow_experimental_eval_table_function": "0",
    "os_threads_nice_value_query": "10",
    "send_logs_level": "none",
}

# What the engine keeps for all queries of its one user together, and who gives way when memory is short.
_SHARED = (
    "max_memory_usage_for_user", "max_temporary_data_on_disk_size_for_user", "max_network_bandwidth_for_user",
    "max_network_bandwidth_for_all_users", "memory_overcommit_ratio_denominator",
    "memory_overcommit_ratio_denominator_for_user", "memory_usage_overcommit_max_wait_microseconds", "priority",
    "workload",
)  # fmt: skip


def analyst_settings(memory_bytes: int, cores: int) -> Mapping[str, str]:
    """What a query of an analyst begins with."""
    limits = {name: str(limit) for name, limit in analyst_limits(memory_bytes, cores).items()}
    return {**_ANALYST_FIXED, **limits}


def machine() -> tuple[int, int]:
    """The memory in bytes and the cores that this process may use: its control group's, or the machine's."""
    own = OwnCgroup()
    whole_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return read_limit_bytes(own.files, own.read().memory, whole_bytes), cores


def write_access(directory: Path, memory_bytes: int, cores: int) -> Path:
    """Write the engine's configuration into its data directory; returns the file to start it with."""
    config, users, nothing = directory / "server.xml", directory / "users.xml", directory / "nothing"
    nothing.mkdir(mode=0o500, exist_ok=True)
    users.write_text(_users(memory_bytes, cores))
    config.write_text(_CONFIG.format(users=users, nothing=nothing, files_database=_FILES_DATABASE))
    _keep_default(directory / "metadata")
    return config


def _users(memory_bytes: int, cores: int) -> str:
    limits = "".join(
        f"            <{name}><min>1</min><max>{limit}</max></{name}>\n"
        for name, limit in analyst_limits(memory_bytes, cores).items()
    )
    fixed = "\n".join(f"            <{name}><const/></{name}>" for name in (*_ANALYST_FIXED, *_SHARED))
    engines = "\n".join(f"            <query>GRANT TABLE ENGINE ON {name}</query>" for name in ENGINES)
    return _USERS.format(constraints=limits + fixed, privileges=_PRIVILEGES, engines=engines)


def _keep_default(metadata: Path) -> None:
    """Have the engine load `default` as an ordinary database, with the tables that it had when files lay over it.

    The engine knows the overlay's tables by a link alone, and gives them to whichever database is the overlay now.
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
