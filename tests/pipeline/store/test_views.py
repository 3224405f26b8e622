"""What analysts see: the views over rows of several chunks, versions and boots, and comments on everything."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.pipeline.store.rows import boot, event, hardware, insert, window

from endpoint_analytics.pipeline.core.sketch import value_of

NOW = datetime.now(UTC).replace(second=5, microsecond=0)


def columns(**values):
    return {
        "arrived": 0,
        "finished": 0,
        "covered_to_us": 10_000_000,
        "pending_request_us": 0,
        "status_codes": [],
        "status_counts": [],
        **values,
    }


def test_requests_10s_puts_chunks_and_boots_together(client):
    rows = [
        window(NOW, version=1, latency={10: 1}, **columns(arrived=1)),
        window(NOW, version=2, latency={10: 3}, **columns(arrived=3, status_codes=[200], status_counts=[3])),
        window(
            NOW, chunk=5, latency={20: 1}, **columns(arrived=1, status_codes=[200, 500], status_counts=[1, 1])
        ),
        window(NOW, boot_id="b2", **columns(arrived=2, pending_request_us=5_000_000, pending_max=2)),
    ]
    for row in rows:
        insert(client, "request_windows", [row])
    found = list(client.query("SELECT * FROM requests_10s").named_results())
    assert len(found) == 1
    (row,) = found
    assert row["arrived"] == 6
    assert row["status"] == ([200, 500], [4, 1])
    assert row["latency"] == ([10, 20], [3, 1])
    assert row["pending_mean"] == pytest.approx(0.5)
    assert row["pending_max"] == 2


def test_sketch_quantile_is_the_quantile_of_core(client):
    query = "SELECT sketchQuantile([0, 10, 200], [1, 5, 94], {q:Float64})"
    for q, bucket in ((0.0, 0), (0.03, 10), (0.5, 200), (1.0, 200)):
        assert client.query(query, parameters={"q": q}).result_rows[0][0] == pytest.approx(value_of(bucket))
    assert client.query(
        "SELECT isNaN(sketchQuantile(emptyArrayUInt16(), emptyArrayUInt64(), 0.5))"
    ).result_rows == [(1,)]


def test_hardware_10s_weighs_by_samples(client):
    insert(
        client,
        "hardware_windows",
        [
            {**hardware(NOW, "cpu_percent", 10.0, version=1), "samples": 1, "sum": 10.0},
            {**hardware(NOW, "cpu_percent", 40.0, chunk=3), "samples": 3, "sum": 120.0},
        ],
    )
    row = next(iter(client.query("SELECT samples, mean, min, max FROM hardware_10s").named_results()))
    assert row == {"samples": 4, "mean": 32.5, "min": 9.0, "max": 41.0}


def test_replica_timeline_gives_each_state_its_time(client):
    insert(
        client,
        "replica_events",
        [event(NOW, "pending", age_s=30), event(NOW, "pulling", age_s=20), event(NOW, "running", age_s=5)],
    )
    rows = client.query("SELECT state, seconds FROM replica_timeline ORDER BY entered_at").result_rows
    assert rows == [("pending", 10.0), ("pulling", 15.0), ("running", None)]


def test_every_table_and_column_has_a_comment(client):
    # The target of the materialized view has the comments; the view itself is not for reading.
    tables = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND comment = '' "
        "AND engine != 'MaterializedView'"
    ).result_rows
    assert tables == []
    bare = client.query(
        "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND comment = '' "
        "AND table != 'boots_from_states'"
    ).result_rows
    assert bare == []


def test_a_boot_has_one_row_however_long_it_lives(client):
    """The table is kept forever: with a row for each day, reading it would take ever longer."""
    days = [
        boot(NOW - timedelta(days=day), boot_id="old", version=9 - day, chunk=9 - day) for day in range(5)
    ]
    for row in days:
        insert(client, "boot_states", [row])
    client.command("OPTIMIZE TABLE boots FINAL")
    assert client.query("SELECT count(), max(version) FROM boots WHERE boot_id = 'old'").result_rows == [
        (1, 9)
    ]
