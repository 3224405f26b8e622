"""The views for tools that point and click: their sums are those of the requests, wherever the rollup has got to."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.pipeline.serve.api.traffic import exact_quantile, make_requests, window_rows
from tests.pipeline.store.rows import boot, event, hardware, insert

from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.loss_counts import count_losses
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.rollup import read_states, roll_up
from endpoint_analytics.pipeline.store.series_replicas import read_replicas
from endpoint_analytics.pipeline.store.series_states import ready_seconds

NOW = datetime.now(UTC).replace(microsecond=0)
TO_S = int(NOW.timestamp()) // 60 * 60
FROM_S = TO_S - 900
BOOTS = (("r1", "b1"), ("r1", "b2"), ("r2", "b3"), ("unassigned", "b4"))


@pytest.fixture(scope="module")
def requests(config):
    """Fifteen minutes of requests; all minutes are rolled up, then the roller is set back to the middle."""
    client = connect(config)
    made = make_requests(BOOTS, FROM_S, TO_S, 3, random.Random(7))
    covered = [(replica, each, window) for replica, each in BOOTS for window in range(FROM_S, TO_S, 10)]
    rows = window_rows(made, covered)
    insert(client, "request_windows", [row | {"version": 1, "arrived": 999} for row in rows])
    insert(client, "request_windows", rows)
    asyncio.run(roll_up(ClientExecutor(client)))
    states = asyncio.run(read_states(ClientExecutor(client)))
    assert states["request_minutes"].rolled_to_s > FROM_S
    client.close()
    return made


@pytest.fixture(params=["as the roller left it", "nothing rolled up", "half"])
def rolled(request, client, requests):
    """Each place that the roller may have got to: the views answer the same."""
    if request.param != "as the roller left it":
        to_s = 0 if request.param == "nothing rolled up" else FROM_S + 420
        client.command("TRUNCATE TABLE rollups")
        if to_s:
            tables = ("request_minutes", "hardware_minutes", "engine_minutes")
            insert(
                client,
                "rollups",
                [{"target": each, "looked_at": to_s, "rolled_to": to_s, "version": 1} for each in tables],
            )
    return requests


def named(client, sql):
    return list(client.query(sql).named_results())


def test_requests_add_up_to_what_happened(client, rolled):
    for keys in ([], ["replica_id"], ["minute"], ["replica_id", "minute"]):
        by = ", ".join(["namespace", *keys])
        rows = named(
            client,
            f"SELECT {by}, sum(arrived) AS arrived, sum(finished) AS finished, sum(responded) AS responded, "
            "sum(status_2xx) AS s2, sum(status_3xx) AS s3, sum(status_4xx) AS s4, sum(status_5xx) AS s5 "
            f"FROM requests GROUP BY {by}",
        )

        def key(replica, at_s, keys=keys):
            return tuple({"replica_id": replica, "minute": int(at_s) // 60 * 60}[each] for each in keys)

        truth = Counter(key(each.replica, each.at_s) for each in rolled)
        classes = Counter((*key(each.replica, each.at_s), each.status // 100) for each in rolled)
        for row in rows:
            of = tuple(
                int(row[each].replace(tzinfo=UTC).timestamp()) if each == "minute" else row[each]
                for each in keys
            )
            assert row["arrived"] == row["finished"] == truth.pop(of, 0)
            assert [row[f"s{number}"] for number in (2, 3, 4, 5)] == [classes[*of, n] for n in (2, 3, 4, 5)]
            assert row["responded"] == sum(row[f"s{number}"] for number in (2, 3, 4, 5))
        assert not +truth


@pytest.mark.parametrize(
    "view", ["requests", "statuses", "latencies", "latency_quantiles", "hardware", "engines"]
)
def test_grafana_may_name_its_result_time(client, view):
    """Its builder rounds the column to an interval `AS "time"`, and filters by the column itself."""
    names = client.query(f"SELECT * FROM {view} LIMIT 0").column_names
    assert "time" not in names
    assert "minute" in names


def test_what_grafana_asks_leaves_out_nothing_of_its_time_range(client, rolled):
    rows = named(
        client,
        f"""SELECT toStartOfInterval(toDateTime("minute"), INTERVAL 86400 second) AS "time", sum(arrived) AS of_day
        FROM requests WHERE ( minute >= toDateTime({FROM_S}) AND minute <= toDateTime({TO_S}) )
        GROUP BY time ORDER BY time ASC""",
    )
    assert sum(row["of_day"] for row in rows) == len(rolled)


def test_what_is_pending_and_how_many_report(client, rolled):
    (row,) = named(
        client,
        "SELECT sum(pending_seconds) / 900 AS pending, sum(reported_seconds) / 900 AS replicas, "
        "max(pending_max) AS most FROM requests",
    )
    assert row == {"pending": pytest.approx(len(BOOTS)), "replicas": pytest.approx(3), "most": 4}
    means = named(client, "SELECT replica_id, avg(pending_mean) AS mean FROM requests GROUP BY replica_id")
    assert {row["replica_id"]: round(row["mean"], 9) for row in means} == {"r1": 2, "r2": 1, "unassigned": 1}


def test_statuses_are_those_sent(client, rolled):
    rows = named(client, "SELECT status, status_class, sum(requests) AS sent FROM statuses GROUP BY ALL")
    assert {row["status"]: row["sent"] for row in rows} == Counter(each.status for each in rolled)
    assert all(row["status_class"] == f"{row['status'] // 100}xx" for row in rows)


@pytest.mark.parametrize("replica", ["", "r1"])
def test_quantiles_of_any_rows_of_latencies_are_right(client, rolled, replica):
    chosen = [each for each in rolled if replica in ("", each.replica)]
    for measure in ("latency", "ttfb"):
        (row,) = named(
            client,
            "SELECT sum(requests) AS n, quantilesExactWeighted(0.5, 0.9, 0.95, 0.99)(seconds, requests) AS q, "
            "sumMap([bucket], [requests]) AS sketch, sketchQuantile(sketch.1, sketch.2, 0.95) / 1e6 AS p95 "
            f"FROM latencies WHERE measure = '{measure}' AND '{replica}' IN ('', replica_id)",
        )
        values = [getattr(each, f"{measure}_us") for each in chosen]
        assert row["n"] == len(values)
        assert row["p95"] == pytest.approx(exact_quantile(values, 0.95), rel=0.0055)
        # ClickHouse's own function finds the same bucket as the sketches.
        assert row["q"][2] == pytest.approx(row["p95"], rel=1e-12)
        for q, found in zip((0.5, 0.9, 0.95, 0.99), row["q"], strict=True):
            assert found == pytest.approx(exact_quantile(values, q), rel=0.0055)


def test_an_endpoints_quantiles_by_minute(client, rolled):
    rows = named(client, "SELECT * FROM latency_quantiles ORDER BY minute")
    assert len(rows) == 15
    for row in rows:
        at_s = row["minute"].replace(tzinfo=UTC).timestamp()
        minute = [each for each in rolled if at_s <= each.at_s < at_s + 60]
        assert row["requests"] == row["ttfb_requests"] == len(minute)
        for measure in ("latency", "ttfb"):
            values = [getattr(each, f"{measure}_us") for each in minute]
            for name, q in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
                found = row[f"{measure}_{name}_seconds"]
                assert found == pytest.approx(exact_quantile(values, q), rel=0.0055)
            assert row[f"{measure}_mean_seconds"] == pytest.approx(sum(values) / len(values) / 1e6)
            assert row[f"{measure}_max_seconds"] == max(values) / 1e6


def test_the_newest_version_says_how_far_it_is_rolled_up(client, requests):
    """As for every other reader: a roller whose clock was ahead is overruled by the next."""
    client.command("TRUNCATE TABLE rollups")
    ahead = TO_S + 86400
    for version, to_s in ((1, ahead), (2, FROM_S)):
        rows = [{"target": "request_minutes", "looked_at": to_s, "rolled_to": to_s, "version": version}]
        insert(client, "rollups", rows)
    later = TO_S + 120
    insert(client, "request_windows", window_rows([], [("later", "b8", later)]))
    assert (
        len(
            named(client, f"SELECT minute FROM requests WHERE minute = toDateTime({later // 60 * 60}, 'UTC')")
        )
        == 1
    )
    client.command("DELETE FROM request_windows WHERE replica_id = 'later'")


def test_a_minute_without_requests_has_counts_of_zero_and_no_latency(client, requests):
    at_s = FROM_S - 3600
    insert(client, "request_windows", window_rows([], [("quiet", "b9", at_s)]))
    where = f"WHERE minute = toDateTime({at_s}, 'UTC')"
    client.command("TRUNCATE TABLE rollups")
    (row,) = named(client, f"SELECT arrived, reported_seconds FROM requests {where}")
    assert row == {"arrived": 0, "reported_seconds": 10.0}
    (row,) = named(client, f"SELECT * FROM latency_quantiles {where}")
    assert row["requests"] == 0
    assert {value for name, value in row.items() if name.endswith("_seconds")} == {None}
    assert named(client, f"SELECT * FROM latencies {where}") == []


def test_hardware_and_engines_have_a_row_for_each_minute(client, rolled):
    samples = [
        {**hardware(NOW, "cpu_percent", 10.0, version=1), "samples": 1, "sum": 10.0},
        {**hardware(NOW, "cpu_percent", 40.0, chunk=3), "samples": 3, "sum": 120.0},
    ]
    insert(client, "hardware_windows", samples)
    insert(
        client,
        "engine_windows",
        [{k: v for k, v in row.items() if not k.startswith("device_")} for row in samples],
    )
    for view in ("hardware", "engines"):
        row = named(client, f"SELECT metric, samples, sum, mean, min, max FROM {view}")[0]
        assert row == {
            "metric": "cpu_percent",
            "samples": 4,
            "sum": 130,
            "mean": 32.5,
            "min": 9.0,
            "max": 41.0,
        }


def test_replicas_say_their_state_and_how_long_they_took(client):
    now = datetime.now(UTC)
    of = {"endpoint": "states"}
    insert(
        client,
        "replica_events",
        [
            event(now, "pending", replica="new", age_s=30, **of),
            event(now, "pulling", replica="new", age_s=20, **of),
            event(now, "pending", replica="up", age_s=90, **of),
            event(now, "running", replica="up", age_s=60, **of),
            event(now, "pending", replica="ended", age_s=9000, **of),
            event(now, "running", replica="ended", age_s=8000, **of),
            event(now, "terminated", replica="ended", age_s=7000, **of),
            event(now, "running", replica="gone", age_s=9000, **of),
            event(now, "running", replica="again", age_s=9000, **of),
            event(now, "failed", replica="again", age_s=8000, **of),
            event(now, "pending", replica="again", age_s=60, **of),
            event(now, "pending", replica="ready-again", age_s=9000, **of),
            event(now, "running", replica="ready-again", age_s=8900, **of),
            event(now, "failed", replica="ready-again", age_s=8000, **of),
            event(now, "terminated", replica="ready-again", age_s=7990, **of),
            event(now, "pending", replica="ready-again", age_s=100, **of),
            event(now, "running", replica="ready-again", age_s=80, **of),
            event(now, "failed", replica="ready-again", age_s=50, **of),
        ],
    )
    insert(
        client,
        "boot_states",
        [
            boot(now, replica="up", boot_id="1", age_s=61, **of),
            boot(now, replica="up", boot_id="2", age_s=0, **of),
            boot(now, replica="gone", age_s=8000, **of),
            boot(now, replica="bare", age_s=0, **of),
            boot(now, replica="unassigned", age_s=0, **of),
        ],
    )
    rows = named(
        client,
        "SELECT replica_id, state, seconds_to_ready, boots FROM replicas WHERE endpoint = 'states' ORDER BY replica_id",
    )
    assert [tuple(row.values()) for row in rows] == [
        ("again", "pending", None, 0),
        ("bare", "running", None, 1),
        ("ended", "terminated", 1000.0, 0),
        ("gone", "departed", None, 1),
        ("new", "pulling", None, 0),
        ("ready-again", "failed", 20.0, 0),
        ("up", "running", 30.0, 2),
    ]


def test_times_to_ready_are_those_of_the_page_whoever_reports_at_the_same_moment(client):
    """Several parts report a replica's states, in any order of offsets, and some messages twice."""
    chance, of = random.Random(5), {"endpoint": "ties"}
    now = datetime.now(UTC).replace(microsecond=0)
    states = ("pending", "initializing", "running", "draining", "terminated", "failed")
    inserts = [[], []]  # what is inserted at once is not stored twice
    for number in range(300):
        offsets = chance.sample(range(100), 5)
        for offset in offsets:
            report = {"replica": f"r{number}", "age_s": 1000 + chance.randrange(4), **of}
            state = chance.choice(states)
            inserts[0].append(event(now, state, offset=offset, **report))
            if offset == offsets[0]:
                inserts[1].append(event(now, state, offset=offset + chance.choice((0, 50)), **report))
    for rows in inserts:
        insert(client, "replica_events", rows)
    found = client.query(
        "SELECT replica_id, seconds_to_ready FROM replicas WHERE endpoint = 'ties'"
    ).result_rows
    at_s = now.timestamp()
    page = asyncio.run(
        read_replicas(ClientExecutor(client), "acme", "ties", at_s - 2000, at_s, at_s, Presence())
    )
    assert dict(found) == {each.replica: ready_seconds(each.spans) for each in page.replicas}
    assert len({seconds for _, seconds in found}) > 3


@pytest.fixture(scope="module")
def crowd(config):
    """Forty thousand replicas of other endpoints, in the tables that the views read."""
    from endpoint_analytics.pipeline.store.connect import connect

    names = "'crowd' AS namespace, concat('e', toString(number % 200)) AS endpoint, toString(number) AS replica_id"
    client = connect(config)
    for table, more in (
        (
            "boot_states",
            "'requests' AS stream, now64(6) AS first_at, now64(6) AS last_at, now64(3) AS last_append",
        ),
        ("replica_events", "now64(6) AS at, 'running' AS state"),
        (
            "request_windows",
            "now() AS window_start, [toUInt16(1000)] AS latency_buckets, [toUInt64(1)] AS latency_counts",
        ),
        ("hardware_windows", "now() AS window_start, 'cpu_percent' AS metric, 1 AS samples"),
        ("engine_windows", "now() AS window_start, 'engine_running_requests' AS metric, 1 AS samples"),
    ):
        select = f"SELECT {names}, {more} FROM numbers(40000)"
        columns = ", ".join(client.query(f"{select} LIMIT 0").column_names)
        client.command(f"INSERT INTO {table} ({columns}) {select}")
    client.close()


@pytest.mark.parametrize(
    "view",
    ["requests", "statuses", "latencies", "latency_quantiles", "replicas", "hardware", "engines", "losses"],
)
def test_a_filter_on_the_endpoint_reads_only_its_part_of_the_tables(client, crowd, view, pytestconfig):
    """Through unions, groups and FINAL; what is read is whole granules of 8192 rows, of each of the view's tables, by
    each shard.
    """
    shards = 2 if pytestconfig.pluginmanager.has_plugin("tests.support.two_shards") else 1
    client.command("TRUNCATE TABLE rollups")
    where = "namespace = 'crowd' AND endpoint = 'e7'"
    read = int(client.query(f"SELECT * FROM {view} WHERE {where}").summary["read_rows"])
    assert read < shards * 5 * 3 * 8192 <= shards * 125_000
    whole = int(client.query(f"SELECT * FROM {view}").summary["read_rows"])
    assert read < whole / 2


@pytest.mark.parametrize(
    ("dropped", "batches", "missing", "uncounted"),
    [
        ({}, {}, 0, 0),
        ({"queue_full": 7}, {}, 0, 0),
        ({"queue_full": 7, "other": 0}, {"spool_full": 2}, 2, 30),
        ({}, {}, 3, 40),
        ({}, {}, 3, 0),
        ({}, {"a": 1, "b": 2}, 3, 40),
        ({"a": 5}, {"a": 1}, 1, 40),
        ({}, {"a": 1}, 0, 5),  # it came after all, but for the newest report
    ],
)
def test_losses_are_those_of_every_other_outlet(client, dropped, batches, missing, uncounted):
    endpoint = f"e{abs(hash(str((dropped, batches, missing, uncounted))))}"
    row = boot(
        NOW, endpoint=endpoint, dropped=dropped, missing=missing, arrived=100, agent_arrived=100 + uncounted
    )
    lists = {"dropped_batch_reasons": list(batches), "dropped_batch_counts": list(batches.values())}
    insert(client, "boot_states", [row | lists])
    truth = count_losses(dropped, batches, missing, uncounted)
    rows = named(
        client,
        "SELECT reason, sum(l.requests) AS requests, sum(l.batches) AS batches FROM losses AS l "
        f"WHERE endpoint = '{endpoint}' AND stream = 'requests' GROUP BY reason",
    )
    assert {row["reason"]: row["requests"] for row in rows if row["requests"]} == dict(truth.reasons)
    assert sum(row["batches"] for row in rows) == truth.batches
