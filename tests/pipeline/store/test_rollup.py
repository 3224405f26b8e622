"""Rollups on a real ClickHouse: replays, late rows, concurrent rollups, a backlog."""

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.serve.api.traffic import make_requests, window_rows
from tests.pipeline.store.rows import event, hardware, insert

from endpoint_analytics.pipeline.store import rollup
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.pipeline.store.rollup import read_rollup_progress, read_states, roll_up

HOUR_START = (int(datetime.now(UTC).timestamp()) - 5 * 3600) // 3600 * 3600
BOOTS = (("r1", "b1"), ("r1", "b2"), ("r2", "b3"))
TABLES = ("request_windows", "request_minutes", "request_hours", "rollups", "hardware_windows", "hardware_minutes",
          "hardware_hours", "engine_windows", "engine_minutes", "engine_hours", "replica_events")  # fmt: skip

COUNTS = """
SELECT replica_id, toUnixTimestamp(window_start) AS at, arrived, status_codes, status_counts, covered_us,
    pending_request_us, pending_max, pending_last, latency_count, latency_sum_us, latency_max_us, latency_buckets,
    latency_counts, ttfb_buckets, ttfb_counts
FROM {table} FINAL ORDER BY replica_id, at
"""


@pytest.fixture(autouse=True)
def _empty(client):
    for table in TABLES:
        client.command(f"TRUNCATE TABLE {table}")


def look(client):
    return asyncio.run(roll_up(ClientExecutor(client)))


def rolled(client, table="request_minutes"):
    return client.query(COUNTS.replace("{table}", table)).result_rows


def covered(first=HOUR_START, last=HOUR_START + 3600):
    return [(replica, each, window) for replica, each in BOOTS for window in range(first, last, 10)]


def made(seed=1, first=HOUR_START, last=HOUR_START + 3600):
    return make_requests(BOOTS, first, last, 2, random.Random(seed))


def test_minutes_and_hours_are_the_sum_of_their_windows(client):
    requests = made()
    insert(client, "request_windows", window_rows(requests, covered()))
    look(client)
    for table, seconds in (("request_minutes", 60), ("request_hours", 3600)):
        rows = rolled(client, table)
        assert {row[0] for row in rows} == {"", "r1", "r2"}
        for replica, at, arrived, codes, counts, covered_us, pending_us, most, last, *_ in rows:
            found = [r for r in requests if at <= r.at_s < at + seconds and replica in ("", r.replica)]
            processes = {"": 3, "r1": 2, "r2": 1}[replica]
            assert arrived == len(found)
            assert dict(zip(codes, counts, strict=True)) == {
                status: sum(r.status == status for r in found) for status in {r.status for r in found}
            }
            assert covered_us == seconds * 1_000_000  # side by side, time is covered once
            assert pending_us == processes * seconds * 1_000_000
            assert (most, last) == (2 * processes, processes)


def test_replays_and_more_looks_change_nothing(client):
    rows = window_rows(made(), covered())
    insert(client, "request_windows", window_rows(made()[::3], covered(), version=1))
    look(client)
    insert(client, "request_windows", rows)
    look(client)
    first = rolled(client), rolled(client, "request_hours")
    insert(client, "request_windows", rows)
    insert(client, "request_windows", rows[:200])
    look(client)
    look(client)
    assert (rolled(client), rolled(client, "request_hours")) == first


def test_a_late_row_changes_its_minute_and_its_hour(client):
    insert(client, "request_windows", window_rows(made(), covered()))
    look(client)
    before = (
        {row[:2]: row[2] for row in rolled(client)},
        {row[:2]: row[2] for row in rolled(client, "request_hours")},
    )
    late = made(4, HOUR_START + 600, HOUR_START + 660)
    rows = [{**row, "chunk": 99_000, "version": 99_001} for row in window_rows(late, [], chunks=1)]
    insert(client, "request_windows", rows)
    look(client)
    added = len(late)
    assert added
    after = (
        {row[:2]: row[2] for row in rolled(client)},
        {row[:2]: row[2] for row in rolled(client, "request_hours")},
    )
    for old, new, at in zip(before, after, (HOUR_START + 600, HOUR_START), strict=True):
        changed = {key: new[key] - old[key] for key in new if new[key] != old[key]}
        assert changed.pop(("", at)) == added
        assert sum(changed.values()) == added


def test_several_rollers_at_once_agree(client, config):
    insert(client, "request_windows", window_rows(made(), covered()))

    def run(_):
        own = connect(config)
        for _ in range(3):
            look(own)
        own.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    assert len(rolled(client)) == 3 * 60
    assert sum(row[2] for row in rolled(client, "request_hours") if row[0] == "") == len(made())


class StopsAfter(ClientExecutor):
    """Stops after some statements, like a killed process."""

    def __init__(self, client, statements):
        super().__init__(client)
        self.left = statements

    async def execute(self, sql, parameters):
        if not self.left:
            raise StoreError("stopped")
        self.left -= 1
        await super().execute(sql, parameters)


def test_a_backlog_is_done_in_pieces_and_not_read_before_all_is_done(client, monkeypatch):
    monkeypatch.setattr(rollup, "TOUCHED_AT_ONCE", 17)
    insert(client, "request_windows", window_rows(made(), covered()))
    with pytest.raises(StoreError):
        asyncio.run(roll_up(StopsAfter(client, 2)))
    assert len(rolled(client)) == 3 * 2 * 17
    reach = asyncio.run(read_rollup_progress(ClientExecutor(client)))
    assert (reach.minute_to, reach.hour_to) == (0, 0)
    look(client)
    assert len(rolled(client)) == 3 * 60
    assert sum(row[2] for row in rolled(client, "request_hours") if row[0] == "") == len(made())
    assert asyncio.run(read_rollup_progress(ClientExecutor(client))).hour_to > HOUR_START


def test_a_window_that_is_not_over_waits(client):
    now = int(datetime.now(UTC).timestamp())
    open_window = now // 10 * 10
    requests = make_requests(BOOTS, open_window, open_window + 10, 2, random.Random(1))
    rows = window_rows(requests, covered(open_window, now))
    insert(client, "request_windows", rows)
    look(client)
    assert rolled(client) == []
    reach = asyncio.run(read_rollup_progress(ClientExecutor(client)))
    assert reach.minute_to <= now - rollup.SETTLE_S


def test_what_settles_later_is_found_by_a_later_look(client, monkeypatch):
    """A row stored before its minute was over, and none after it."""
    monkeypatch.setattr(rollup, "SETTLE_S", 7 * 3600)
    insert(client, "request_windows", window_rows(made(), covered()))
    look(client)
    assert rolled(client) == []
    monkeypatch.undo()
    look(client)
    assert len(rolled(client)) == 3 * 60


def test_states_are_kept_and_rise(client):
    insert(client, "request_windows", window_rows(made(), covered()))
    look(client)
    first = asyncio.run(read_states(ClientExecutor(client)))
    look(client)
    second = asyncio.run(read_states(ClientExecutor(client)))
    assert set(first) == {target.table for target in rollup.TARGETS}
    assert all(second[table].looked_at > first[table].looked_at for table in first)


@pytest.mark.parametrize("kind", ["hardware", "engine"])
def test_samples_of_replicas_that_do_not_run_are_theirs_alone(client, kind):
    now = datetime.fromtimestamp(HOUR_START + 100, UTC)
    insert(
        client,
        f"{kind}_windows",
        [
            hardware(now, "a_percent", value, replica=replica)
            for replica, value in (("r1", 10.0), ("r2", 30.0), ("r3", 99.0))
        ],
    )
    insert(
        client,
        "replica_events",
        [event(now, "initializing", replica="r3", age_s=50), event(now, "running", replica="r2", age_s=50)],
    )
    look(client)
    for table in (f"{kind}_minutes", f"{kind}_hours"):
        rows = client.query(
            f"SELECT replica_id, sum / samples, windows FROM {table} FINAL ORDER BY replica_id"
        )
        assert rows.result_rows == [("", 20.0, 2), ("r1", 10.0, 1), ("r2", 30.0, 1), ("r3", 99.0, 1)]


def test_the_last_day_that_is_kept_is_left_as_it_is(client):
    """Some of its rows may be gone: recomputing a window would lose their counts."""
    old = datetime.now(UTC) - timedelta(days=6, hours=12)
    at = int(old.timestamp()) // 10 * 10
    insert(client, "request_windows", window_rows([], [("r1", "b1", at)]))
    look(client)
    assert rolled(client) == []


NAMED = (("acme", "a"), ("acme", "b"), ("acme.b", "a"), ("o'brien", "it''s \\ 日"))
ALL = "SELECT * EXCEPT (version, stored_at) FROM {table} FINAL ORDER BY ALL"


class Counts(ClientExecutor):
    """A real client that counts statements."""

    statements = 0

    async def execute(self, sql, parameters):
        self.statements += 1
        await super().execute(sql, parameters)


@pytest.mark.parametrize(
    ("windows", "rows", "statements"), [(100, 50_000, 4), (20, 50_000, 1 + 4), (100, 1, 4 * 4)]
)
def test_many_endpoints_at_once_are_as_each_alone(client, monkeypatch, windows, rows, statements):
    """Replicas of the same names, with other figures and in other states."""
    tables = ("request_minutes", "request_hours", "hardware_minutes", "hardware_hours")
    at = datetime.fromtimestamp(HOUR_START + 100, UTC)
    alone: dict[str, list[tuple]] = {table: [] for table in tables}

    def fill(number, namespace, endpoint):
        of = {"namespace": namespace, "endpoint": endpoint}
        found = window_rows(made(number, last=HOUR_START + 600), covered(last=HOUR_START + 600))
        insert(client, "request_windows", [row | of for row in found])
        samples = [
            hardware(at, "a_percent", number * value, replica=f"r{value}", **of) for value in (1, 2, 4)
        ]
        insert(client, "hardware_windows", samples)
        insert(client, "replica_events", [event(at, "draining", replica=f"r{number}", age_s=50, **of)])

    monkeypatch.setattr(rollup, "OF_ENDPOINTS_AT_ONCE", 1)
    for number, (namespace, endpoint) in enumerate(NAMED):
        for table in TABLES:
            client.command(f"TRUNCATE TABLE {table}")
        fill(number, namespace, endpoint)
        look(client)
        for table in tables:
            alone[table] += client.query(ALL.format(table=table)).result_rows
    monkeypatch.setattr(rollup, "OF_ENDPOINTS_AT_ONCE", windows)
    monkeypatch.setattr(rollup, "ROWS_AT_ONCE", rows)
    for table in TABLES:
        client.command(f"TRUNCATE TABLE {table}")
    for number, (namespace, endpoint) in enumerate(NAMED):
        fill(number, namespace, endpoint)
    counts = Counts(client)
    asyncio.run(roll_up(counts))
    for table in tables:
        found = client.query(ALL.format(table=table)).result_rows
        assert found
        assert sorted(found, key=str) == sorted(alone[table], key=str)
    assert counts.statements == len(rollup.TARGETS) + statements


class Widest(ClientExecutor):
    """A real client that remembers the most windows that a statement computed, each endpoint's counted."""

    windows = 0

    async def execute(self, sql, parameters):
        self.windows = max(
            self.windows, len(parameters.get("endpoints", ())) * len(parameters.get("windows", ()))
        )
        await super().execute(sql, parameters)


def test_a_late_row_in_each_minute_of_many_endpoints_does_not_make_one_statement_read_all_of_them(client):
    """Few rows changed, but those of an hour of each endpoint are read: that took longer than a statement may."""
    rows = window_rows([], [("late", "b1", HOUR_START + 60 * minute) for minute in range(60)], chunks=1)
    for number in range(5):
        insert(client, "request_windows", [row | {"endpoint": f"e{number}"} for row in rows])
    widest = Widest(client)
    asyncio.run(roll_up(widest))
    assert len(rolled(client)) == 5 * 60 * 2
    assert 60 <= widest.windows <= 100


class Refuses(ClientExecutor):
    """A real client that is refused what computes more than some windows at once."""

    def __init__(self, client, most: int) -> None:
        super().__init__(client)
        self._most = most
        self.refused = 0

    async def execute(self, sql, parameters):
        if len(parameters.get("endpoints", ())) * len(parameters.get("windows", ())) > self._most:
            self.refused += 1
            raise StoreError("ClickHouse returned an error: TIMEOUT_EXCEEDED")
        await super().execute(sql, parameters)


def test_what_is_refused_is_computed_in_halves(client):
    for endpoint in ("a", "b", "c"):
        windows = window_rows(made(last=HOUR_START + 600), covered(last=HOUR_START + 600))
        insert(client, "request_windows", [row | {"endpoint": endpoint} for row in windows])
    refuses = Refuses(client, 2)
    asyncio.run(roll_up(refuses))
    # Minutes: of 3 and 2 endpoints, then 10, 5, 5, 3 and 3 windows of each; hours: of 3 endpoints.
    assert refuses.refused == 2 + 3 * 5 + 1
    whole = client.query(ALL.format(table="request_minutes")).result_rows
    client.command("TRUNCATE TABLE request_minutes")
    client.command("TRUNCATE TABLE rollups")
    look(client)
    assert client.query(ALL.format(table="request_minutes")).result_rows == whole
    client.command("TRUNCATE TABLE request_minutes")
    client.command("TRUNCATE TABLE rollups")
    with pytest.raises(StoreError):
        asyncio.run(roll_up(Refuses(client, 0)))
