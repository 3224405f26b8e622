import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from tests.pipeline.store.rows import boot, insert, window

from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.errors import SchemaMissingError, SchemaNewerError, SchemaOtherError
from endpoint_analytics.pipeline.store.migrate import RECORD, migrate, read_applied, schema_state
from endpoint_analytics.pipeline.store.rollup_levels import TABLES
from endpoint_analytics.schemas.migrations import Placement, read_migrations

NUMBERS = tuple(migration.number for migration in read_migrations())


@pytest.fixture
def fresh(server):
    return server.config(f"m_{uuid.uuid4().hex[:8]}")


def applied(config):
    client = connect(config)
    try:
        return tuple(number for number, _ in read_applied(client))
    finally:
        client.close()


def test_all_migrations_run_once(fresh):
    assert tuple(each.number for each in migrate(fresh)) == NUMBERS
    assert applied(fresh) == NUMBERS
    assert migrate(fresh) == ()


def test_two_at_once(fresh):
    with ThreadPoolExecutor(4) as pool:
        for run in [pool.submit(migrate, fresh) for _ in range(4)]:
            run.result()
    assert applied(fresh) == NUMBERS


def test_a_run_that_crashed_in_the_middle_is_mended_by_the_next(fresh):
    migrate(fresh)
    client = connect(fresh)
    client.command("TRUNCATE TABLE schema_migrations")  # nothing recorded, all created
    client.command("DROP TABLE tokens SYNC")  # and the last table of the first migration not even that
    assert tuple(each.number for each in migrate(fresh)) == NUMBERS
    assert client.query("SELECT count() FROM tokens").result_rows == [(0,)]
    client.close()


def test_a_newer_database_is_an_error_and_is_left_alone(fresh):
    migrate(fresh)
    client = connect(fresh)
    client.command(
        RECORD, parameters={"number": 999, "name": "of the future", "digest": "f" * 64, "by": "9.9"}
    )
    client.command("DROP TABLE tokens SYNC")
    with pytest.raises(SchemaNewerError, match=r"migration 999.*run the newer version"):
        migrate(fresh)
    assert client.query("EXISTS TABLE tokens").result_rows == [(0,)]
    client.close()


def test_the_schema_state_says_what_is_missing():
    rows = [(each.number, each.digest) for each in read_migrations()]
    state = schema_state(read_migrations(), rows[:-1])
    assert state.missing == NUMBERS[-1:]
    with pytest.raises(SchemaMissingError, match="endpoint-analytics migrate"):
        state.check("here")
    schema_state(read_migrations(), rows).check("here")


def test_a_database_of_an_unreleased_version_is_an_error_and_is_left_alone(fresh):
    """Its record has no digests, or others: its tables have the same names and mean something else."""
    migrate(fresh)
    client = connect(fresh)
    client.command("ALTER TABLE schema_migrations DROP COLUMN digest")
    client.command("DROP TABLE tokens SYNC")
    with pytest.raises(
        SchemaOtherError, match=r"unreleased version .*\(migration 1 differs\).*make clean-data"
    ):
        migrate(fresh)
    assert client.query("EXISTS TABLE tokens").result_rows == [(0,)]
    rows = [(number, "0" * 64) for number in (*NUMBERS, 99)]
    with pytest.raises(SchemaOtherError, match="unreleased version"):
        schema_state(read_migrations(), rows).check("here")
    client.close()


@pytest.mark.parametrize("placement", [Placement("c"), Placement("c", "d_shard")])
def test_a_cluster_has_the_same_digests(placement):
    assert [each.digest for each in read_migrations(placement)] == [each.digest for each in read_migrations()]


def test_the_command_says_what_it_did(fresh):
    words = ["migrate", "--clickhouse-url", fresh.url, "--clickhouse-database", fresh.database]
    code = "import sys; from endpoint_analytics.infra.command import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD": fresh.password},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"database {fresh.database} is up to date"
    assert applied(fresh) == NUMBERS


def test_the_command_fails_in_one_line_without_a_server():
    words = ["migrate", "--clickhouse-url", "http://127.0.0.1:1"]
    code = "import sys; from endpoint_analytics.infra.command import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("endpoint-analytics migrate: no ClickHouse answers at http://127.0.0.1:1:")
    assert done.stderr.count("\n") == 1


def test_rows_of_an_older_version_are_kept_and_compressed_anew(fresh, monkeypatch):
    newest = "endpoint_analytics.pipeline.store.migrate.read_migrations"
    with monkeypatch.context() as older:
        older.setattr(newest, lambda placement: read_migrations(placement)[:8])
        older.setattr("endpoint_analytics.pipeline.store.migrate.apply_retention", lambda *_: ())
        migrate(fresh)
    client = connect(fresh)
    now = datetime.now(UTC)
    tables = {
        "request_windows": [
            window(now, chunk=each, latency={700: 3, 1900: 1}, arrived=each) for each in range(3)
        ],
        "boot_states": [boot(now, chunk=each, status={200: each}, arrived=2**63) for each in range(3)],
    }
    for table, rows in tables.items():
        insert(client, table, rows)
    before = {table: client.query(f"SELECT * FROM {table} ORDER BY chunk").result_rows for table in tables}
    migrate(fresh)
    for table in tables:
        client.command(f"OPTIMIZE TABLE {table} FINAL")
    after = {table: client.query(f"SELECT * FROM {table} ORDER BY chunk").result_rows for table in tables}
    assert after == before
    client.close()


def test_every_number_of_the_tables_that_grow_has_a_codec(fresh):
    """ClickHouse's default, LZ4, takes twice the space for small numbers in 64 bits."""
    migrate(fresh)
    client = connect(fresh)
    growing = [*TABLES, "boot_states"]
    plain = client.query(
        "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND table IN {tables:Array(String)}"
        " AND match(type, '64|32') AND compression_codec = ''"
        " AND name NOT IN ('partition', 'window_start')",
        parameters={"tables": growing},
    ).result_rows
    rare = {"gap_starts", "gap_ends", "dropped_counts", "dropped_batch_counts", "conflicts", "begin_seq"}
    rare |= {"duplicates", "missing"}
    assert [(table, name) for table, name in plain if name not in rare] == []
    client.close()
