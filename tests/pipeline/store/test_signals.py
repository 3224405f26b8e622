"""Signals of endpoints from rows, in Python and in SQL: each rule, and that both agree on arbitrary rows."""

import asyncio
import random
import re
from datetime import UTC, datetime, timedelta

import pytest
from tests.pipeline.store.reading import metrics_of
from tests.pipeline.store.rows import boot, event, hardware, insert, progress, window

from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.endpoint_metrics import (
    MetricsSettings,
    read_endpoint_metrics,
)
from endpoint_analytics.pipeline.store.presence import Presence
from endpoint_analytics.pipeline.store.scope import EVERYTHING, Key, Scope
from endpoint_analytics.pipeline.store.series_overview import read_endpoints
from endpoint_analytics.pipeline.store.series_replicas import read_replicas
from endpoint_analytics.pipeline.store.series_states import FOREVER
from endpoint_analytics.pipeline.store.signal_queries import HARDWARE, LEVELS, read_all_signals, read_signals
from endpoint_analytics.pipeline.store.signals import CURRENT_FOR_S, FRESH_FOR_S, HARDWARE_WINDOW_S, WINDOW_S
from endpoint_analytics.schemas.identity import UNASSIGNED
from endpoint_analytics.schemas.migrations import read_migrations
from endpoint_analytics.schemas.replicas import STATES

NOW = datetime.now(UTC).replace(microsecond=0)
NOW -= timedelta(seconds=NOW.second % 10)


class Reader:
    def __init__(self, client):
        self._client = client

    async def read(self, sql, parameters):
        return self._client.query(sql, parameters=dict(parameters)).result_rows


class Endpoint:
    """Collects the rows of one endpoint."""

    def __init__(self, name: str) -> None:
        self.of = {"endpoint": name}
        self.rows: dict[str, list[dict[str, object]]] = {}

    def add(self, table: str, row: dict[str, object]) -> None:
        self.rows.setdefault(table, []).append(row)

    def agent(
        self,
        replica,
        pending=0.0,
        *,
        boot_id="b1",
        age_s=1.0,
        told_s=1.0,
        streaming=0.0,
        stream="requests",
        partition=0,
    ):
        """An agent last heard `age_s` ago whose reports end `told_s` ago, with constant levels."""
        row = boot(
            NOW,
            replica=replica,
            boot_id=boot_id,
            age_s=age_s,
            stream=stream,
            partition=partition,
            **self.of,
        )
        if stream == "requests":
            row["pending"] = round(pending)
        self.add("boot_states", row)
        if stream == "requests":
            for at_s in range(3):
                levels = {
                    "pending_request_us": int(pending * 1e7),
                    "streaming_request_us": int(streaming * 1e7),
                }
                row = window(
                    NOW,
                    replica=replica,
                    boot_id=boot_id,
                    age_s=told_s + 10 * at_s,
                    **self.of,
                    covered_to_us=10_000_000,
                    **levels,
                )
                self.add("request_windows", row)
        return self

    def hardware(self, replica, *, age_s=1.0, told_s=1.0, partition=0, **percent):
        self.agent(replica, boot_id="h", age_s=age_s, stream="hardware", partition=partition)
        for name, value in percent.items():
            device, metrics = ("gpu0" if name.startswith("gpu") else ""), {f"{name}_percent": value}
            if name == "memory":
                metrics = {"memory_used_bytes": value, "memory_limit_bytes": 100.0}
            if name == "gpu_memory":
                metrics = {"gpu_memory_used_bytes": value, "gpu_memory_total_bytes": 100.0}
            for metric, sample in metrics.items():
                row = hardware(
                    NOW, metric, sample, replica=replica, device=device, boot_id="h", age_s=told_s, **self.of
                )
                self.add("hardware_windows", row)
        return self

    def reported(self, replica, state, age_s=30.0, partition=0):
        row = event(NOW, state, replica=replica, age_s=age_s, partition=partition, **self.of)
        self.add("replica_events", row)
        return self


# Partitions by number: how long ago each was read to, for how long it had been read steadily by then, and how long
# before that it had stopped, if that is known.
READ_AGO: dict[int, tuple[float, float, float | None]] = {
    11: (5, 900, None),
    12: (10, 900, 30),
    13: (10.001, 900, None),
    14: (30, 900, 60),
    15: (1, 7, None),
    16: (2, 10.001, 60),
    17: (7200, 900, None),
    19: (0.5, 4, 50),
    20: (1, 10, 280),
    21: (0.5, 3, 3_590),
    22: (2, 9, 90_000),
    23: (30, 3, 600),
    24: (0, 6, 3_594),
    25: (0, 4, 6),
    26: (0.2, -3_600, 30),
}
NEVER_TOLD_OF = 18
THREE = ("r1", "r2", "r3")


def endpoint_cases() -> dict[str, tuple[Endpoint, dict[str, object]]]:
    """Endpoints by description, and their expected signals."""

    def some(name):
        return Endpoint(name.replace(" ", "-").replace(",", ""))

    cases: dict[str, tuple[Endpoint, dict[str, object]]] = {}

    def case(name, endpoint, **expected):
        cases[name] = (endpoint, expected)

    name = "hung on two of three"
    case(
        name,
        some(name).agent("r1", 3).agent("r2", 1).agent("r3", 0),
        running_replicas=3,
        pending_requests=4.0,
        pending_per_replica=4 / 3,
        active_per_replica=4 / 3,
        silent_replicas=0,
    )
    name = "streaming counts as active"
    case(
        name,
        some(name).agent("r1", 1, streaming=2).agent("r2", 0, streaming=1),
        pending_per_replica=0.5,
        active_per_replica=2.0,
        active_requests=4.0,
    )
    name = "two processes of a replica"
    case(
        name,
        some(name).agent("r1", 1).agent("r1", 2, boot_id="b2"),
        running_replicas=1,
        pending_per_replica=3.0,
    )
    name = "killed a moment ago"
    case(name, some(name).agent("r1", 2, age_s=9).agent("r2", 0), running_replicas=2, pending_per_replica=1.0)
    name = "killed, and known to be"
    case(
        name,
        some(name).agent("r1", 2, age_s=10.5).agent("r2", 0),
        running_replicas=1,
        silent_replicas=1,
        pending_per_replica=0.0,
    )
    name = "silent, and the pipeline is late"
    case(
        name,
        some(name).agent("r1", 2, age_s=31, partition=14).agent("r2", 0, age_s=30.5, partition=14),
        running_replicas=None,
        unknown_since=NOW - timedelta(seconds=30),
        silent_replicas=0,
        pending_per_replica=None,
        is_current=False,
    )
    name = "silent for 10 s of the log"
    case(
        name,
        some(name).agent("r1", 2, age_s=15.001, partition=11).agent("r2", 0, age_s=14, partition=11),
        running_replicas=1,
        silent_replicas=1,
        unknown_since=None,
    )
    name = "silent while nobody read"
    case(
        name,
        some(name).agent("r1", 2, age_s=60, partition=15).agent("r2", 1),
        running_replicas=None,
        silent_replicas=0,
        unknown_since=NOW - timedelta(seconds=50),
    )
    name = "an hour behind"
    case(
        name,
        some(name).agent("r1", 2, age_s=7200, partition=17),
        running_replicas=None,
        unknown_since=NOW - timedelta(seconds=7200),
    )
    name = "nobody reads"
    case(
        name,
        some(name).agent("r1", 2, age_s=20, partition=NEVER_TOLD_OF),
        running_replicas=None,
        unknown_since=NOW - timedelta(seconds=20),
    )
    name = "states are late"
    case(
        name,
        some(name).agent("r1", 2, age_s=20).reported("r1", "running", 100, partition=14),
        running_replicas=None,
        silent_replicas=0,
    )
    name = "one of four processes has reported again after a pause"
    case(
        name,
        some(name)
        .agent("r1", 5, partition=19)
        .agent("r1", 5, boot_id="b2", age_s=55, told_s=55, partition=19)
        .agent("r1", 5, boot_id="b3", age_s=55, told_s=55, partition=19)
        .agent("r2", 0),
        running_replicas=2,
        pending_requests=None,
    )
    name = "hardware is reported again, requests are not"
    case(
        name,
        some(name).hardware("r1", cpu=90.0).agent("r1", 20, age_s=55, told_s=55, partition=19).agent("r2", 0),
        running_replicas=2,
        pending_requests=None,
        cpu_percent=90.0,
    )
    name = "one of two proxies has reported again"
    case(
        name,
        some(name)
        .agent(UNASSIGNED, 7, partition=19)
        .agent(UNASSIGNED, 7, boot_id="b2", age_s=55, told_s=55, partition=19),
        pending_requests=None,
    )
    name = "what one that drains holds is unknown, and does not count"
    case(
        name,
        some(name)
        .agent("r1", 2)
        .agent("r2", 5, age_s=55, told_s=55, partition=19)
        .hardware("r2", cpu=1.0)
        .reported("r2", "draining"),
        pending_requests=2.0,
    )
    name = "a process whose partition is late beside one whose is not"
    case(
        name,
        some(name).agent("r1", 2).agent("r1", 5, boot_id="b2", age_s=31, told_s=31, partition=14),
        running_replicas=1,
        late_replicas=1,
        pending_requests=None,
    )
    name = "a short pause of its state after a long one of its requests"
    case(
        name,
        some(name)
        .agent("r1", 3, age_s=3_601, told_s=3_601, partition=24)
        .reported("r1", "running", 7_200, partition=25)
        .agent("r2", 0),
        running_replicas=None,
        silent_replicas=0,
        pending_requests=None,
    )
    name = "a clock that was ahead when reading began"
    case(
        name,
        some(name).agent("r1", 3, age_s=20, told_s=20, partition=26).agent("r2", 0),
        running_replicas=1,
        silent_replicas=1,
    )
    name = "all are silent"
    case(
        name,
        some(name).agent("r1", 2, age_s=15).agent("r2", 0, age_s=12),
        running_replicas=0,
        age_s=12.0,
        silent_replicas=2,
        pending_per_replica=None,
        pending_requests=None,
        is_current=False,
    )
    name = "all stand still for a moment"
    case(
        name,
        some(name).agent("r1", 2, age_s=5.5).hardware("r1", cpu=50.0, age_s=6),
        running_replicas=1,
        silent_replicas=0,
        pending_per_replica=None,
        cpu_percent=None,
        is_current=False,
    )
    name = "none runs, requests wait"
    case(
        name,
        some(name).agent(UNASSIGNED, 3),
        running_replicas=0,
        pending_requests=3.0,
        pending_per_replica=3.0,
        is_current=True,
    )
    name = "none runs, none waits"
    case(
        name,
        some(name).agent(UNASSIGNED, 0),
        running_replicas=0,
        pending_requests=0.0,
        pending_per_replica=0.0,
    )
    name = "one runs, others wait at the endpoint"
    case(name, some(name).agent(UNASSIGNED, 3).agent("r1", 1), running_replicas=1, pending_per_replica=4.0)
    name = "what is held by one on its way counts"
    case(
        name,
        some(name).agent("r1", 1).agent("r2", 5).reported("r2", "initializing"),
        running_replicas=1,
        pending_per_replica=6.0,
    )
    name = "what is held by one that drains does not"
    case(
        name,
        some(name).agent("r1", 1).agent("r2", 5).reported("r2", "draining"),
        running_replicas=1,
        pending_per_replica=1.0,
    )
    name = "only one that drains"
    case(
        name,
        some(name).agent("r2", 5).reported("r2", "draining"),
        running_replicas=0,
        pending_per_replica=None,
    )
    name = "one is late, the other stands for it"
    case(
        name,
        some(name).agent("r1", 2).agent("r2", 9, told_s=75),
        running_replicas=2,
        late_replicas=1,
        pending_per_replica=2.0,
        pending_requests=4.0,
    )
    name = "all are late"
    case(
        name,
        some(name).agent("r1", 2, told_s=75),
        running_replicas=1,
        late_replicas=1,
        pending_per_replica=None,
    )
    name = "a boot that is sent again beside the living one"
    case(
        name,
        some(name).agent("r1", 2).agent("r1", 9, boot_id="old", told_s=3600),
        running_replicas=1,
        late_replicas=0,
        pending_per_replica=2.0,
    )
    name = "a clock that is 30 s behind"
    case(name, some(name).agent("r1", 2, told_s=31).agent("r2", 4), pending_per_replica=3.0)
    name = "reported to run, and no agent"
    case(
        name,
        some(name).reported("r1", "running").reported("r2", "running").agent(UNASSIGNED, 4),
        running_replicas=2,
        pending_per_replica=2.0,
        pending_requests=4.0,
    )
    name = "hardware alone"
    case(
        name,
        some(name).hardware("r1", cpu=40.0).hardware("r2", cpu=80.0),
        pending_per_replica=None,
        cpu_percent=60.0,
        memory_percent=None,
        running_replicas=2,
        is_current=True,
    )
    name = "hardware of running replicas"
    case(
        name,
        some(name)
        .hardware("r1", cpu=40.0, memory=10.0, gpu=90.0, gpu_memory=30.0)
        .hardware("r2", cpu=100.0)
        .reported("r2", "draining")
        .hardware("r3", cpu=50.0, memory=20.0),
        running_replicas=2,
        cpu_percent=45.0,
        memory_percent=15.0,
        gpu_percent=90.0,
        gpu_memory_percent=30.0,
    )
    name = "hardware that is silent or late"
    case(
        name,
        some(name)
        .hardware("r1", cpu=40.0)
        .agent("r2", 1)
        .hardware("r2", cpu=90.0, age_s=11)
        .hardware("r3", cpu=90.0, told_s=70),
        running_replicas=3,
        cpu_percent=40.0,
    )
    return cases


def random_endpoint(seed: int) -> Endpoint:
    """Arbitrary storable rows, with ages on both sides of every limit and exactly on it."""
    chance = random.Random(seed)
    ages = (
        0.0,
        1.0,
        5.0,
        5.001,
        9.999,
        10.0,
        10.001,
        11,
        59,
        60.0,
        61,
        299,
        300.0,
        301,
        3600,
        86_400.0,
        86_401,
        100_000,
    )
    places = (0, 0, 0, *READ_AGO, NEVER_TOLD_OF) if seed % 2 else (0,)
    endpoint = Endpoint(f"random-{seed}")
    for replica in (UNASSIGNED, *THREE)[chance.randrange(2) : chance.randrange(2, 5)]:
        for boot_id in ("b1", "b2")[: chance.randrange(3)]:
            endpoint.agent(
                replica,
                chance.randrange(5),
                boot_id=boot_id,
                age_s=chance.choice(ages[: chance.choice((3, 7, 18))]),
                told_s=chance.choice((1.0, 5, 30, 59, 60.0, 61, 95)),
                streaming=chance.randrange(3),
                partition=chance.choice(places),
            )
        if chance.random() < 0.6:
            endpoint.hardware(
                replica,
                age_s=chance.choice(ages[:6]),
                told_s=chance.choice((1.0, 30, 60.0, 61)),
                partition=chance.choice(places),
                cpu=chance.random() * 100,
                **({"gpu": 50.0} if chance.random() < 0.5 else {}),
            )
        for age_s in chance.sample(ages, chance.randrange(3)):
            endpoint.reported(replica, chance.choice(STATES), age_s, chance.choice(places))
    return endpoint


CASES = endpoint_cases()
RANDOM = [random_endpoint(seed) for seed in range(250)]


@pytest.fixture(scope="module")
def filled(config):
    client = connect(config)
    for table in ("boot_states", "request_windows", "hardware_windows", "replica_events"):
        rows = [row for each, _ in CASES.values() for row in each.rows.get(table, ())]
        insert(client, table, rows + [row for each in RANDOM for row in each.rows.get(table, ())])
    for partition, (ago_s, steady_s, stopped_s) in READ_AGO.items():
        read_to = NOW - timedelta(seconds=ago_s)
        steady_since = read_to - timedelta(seconds=steady_s)
        stopped_at = None if stopped_s is None else steady_since - timedelta(seconds=stopped_s)
        insert(
            client,
            "partition_progress",
            progress(read_to, steady_since, partition, stopped_at=stopped_at),
        )
    yield client
    client.close()


@pytest.fixture(scope="module")
def signals(filled):
    return asyncio.run(read_all_signals(Reader(filled), NOW))


def _number(value):
    if isinstance(value, datetime):
        return value.timestamp()
    return int(value) if isinstance(value, bool) else value


@pytest.mark.parametrize("name", CASES)
def test_what_is_said_of_an_endpoint(signals, name):
    endpoint, expected = CASES[name]
    found = signals["acme", endpoint.of["endpoint"]]
    said = {field: _number(getattr(found, field)) for field in expected}
    assert said == pytest.approx({field: _number(value) for field, value in expected.items()})


def test_one_endpoint_is_as_among_all(filled, signals):
    for endpoint in [each for each, _ in CASES.values()] + RANDOM[:20]:
        name = endpoint.of["endpoint"]
        one = asyncio.run(read_signals(Reader(filled), "acme", name, NOW))
        assert one == signals.get(("acme", name))


def test_nothing_is_said_of_what_was_never_heard(filled):
    assert asyncio.run(read_signals(Reader(filled), "acme", "nobody", NOW)) is None


ENDPOINT_FIELDS = (
    "unknown_since",
    "running_replicas",
    "late_replicas",
    "silent_replicas",
    "pending_requests",
    "pending_per_replica",
    "active_requests",
    "active_per_replica",
    "cpu_percent",
    "memory_percent",
    "gpu_percent",
    "gpu_memory_percent",
)
REPLICA_FIELDS = (
    "is_live",
    "is_missing",
    "is_silent",
    "unknown_since",
    "pending_requests",
    "streaming_requests",
    "cpu_percent",
    "memory_percent",
    "gpu_percent",
    "gpu_memory_percent",
)
MOMENT = {"at": NOW.strftime("%Y-%m-%d %H:%M:%S")}


def test_sql_says_the_same_of_endpoints(filled, signals):
    rows = filled.query(
        "SELECT * FROM endpoint_signals_at(at = {at:DateTime64(3, 'UTC')})", parameters=MOMENT
    )
    of_sql = {(row["namespace"], row["endpoint"]): row for row in rows.named_results()}
    assert of_sql.keys() == signals.keys()
    assert len(of_sql) > 200
    for key, found in signals.items():
        said = {field: _number(of_sql[key][field]) for field in ENDPOINT_FIELDS}
        assert said == pytest.approx({field: _number(getattr(found, field)) for field in ENDPOINT_FIELDS}), (
            key
        )
        assert (of_sql[key]["as_of"], of_sql[key]["age_seconds"]) == (
            found.as_of,
            pytest.approx(found.age_s),
        ), key


def test_sql_says_the_same_of_replicas(filled, signals):
    rows = filled.query("SELECT * FROM replica_signals_at(at = {at:DateTime64(3, 'UTC')})", parameters=MOMENT)
    of_sql = {(row["namespace"], row["endpoint"], row["replica_id"]): row for row in rows.named_results()}
    checked = 0
    for key, found in signals.items():
        for replica in found.replicas:
            row = of_sql[(*key, replica.replica_id)]
            said = {field: _number(row[field]) for field in REPLICA_FIELDS}
            assert said == pytest.approx(
                {field: _number(getattr(replica, field)) for field in REPLICA_FIELDS}
            ), key
            assert row["state"] == (replica.state or ""), key
            checked += 1
    assert checked > 400


@pytest.mark.slow
def test_every_outlet_judges_alike(filled, signals):
    """The scrape, the list, the page for any range, and the signals: which replicas run, and what they hold."""
    reader, presence = Reader(filled), Presence()
    listed = {each.endpoint: each for each in asyncio.run(read_endpoints(reader, "acme", NOW, presence))}
    held = 0
    for endpoint in [each for each, _ in CASES.values()] + RANDOM[:80]:
        name, now_s = endpoint.of["endpoint"], NOW.timestamp()
        scraped = asyncio.run(read_endpoint_metrics(reader, "acme", name, NOW, MetricsSettings()))
        if scraped is None:
            continue
        named = [each for each in scraped.replicas if each.replica_id != UNASSIGNED]
        states = {each.replica_id: each.state for each in named}
        levels = {each.replica_id: each.requests and each.requests.levels for each in named}
        pending = {replica: found and found.pending for replica, found in levels.items()}
        for range_s in (60, 900, 604_800):
            page = asyncio.run(read_replicas(reader, "acme", name, now_s - range_s, now_s, now_s, presence))
            shown = [each for each in page.replicas if each.present and each.replica != UNASSIGNED]
            assert {each.replica: each.state for each in shown}.items() <= states.items(), name
            assert {each.replica: each.pending for each in shown}.items() <= pending.items(), name
            assert len(shown) == len(states) or range_s < 604_800, name
            assert page.unknown_since_s == _number(scraped.unknown_since), name
            for each in shown:
                assert (each.spans[-1].state, each.spans[-1].to_s) == (each.state, FOREVER), name
        reporting = [each.requests.levels for each in scraped.replicas if each.requests]
        known = None if None in reporting or not reporting else sum(each.pending for each in reporting)
        assert listed[name].pending in (known, None), name
        assert (listed[name].running, listed[name].unknown_since_s) == (
            scraped.running_replicas,
            _number(scraped.unknown_since),
        ), name
        if ("acme", name) in signals:
            found = signals["acme", name]
            assert found.running_replicas == scraped.running_replicas, name
            assert found.unknown_since == scraped.unknown_since, name
            assert {each.replica_id: each.state for each in found.replicas if each.state} == states, name
            of_all = {each.replica_id: each.requests and each.requests.levels for each in scraped.replicas}
            for each in found.replicas:
                assert each.pending_requests is None or of_all[each.replica_id] is not None, name
                is_unknown = each.is_missing and each.state not in ("draining", "terminated", "failed")
                assert not (is_unknown and found.pending_requests is not None), name
        held += sum(found is not None for found in pending.values())
    assert held > 20


def test_many_endpoints_at_once_are_judged_as_one_by_one(filled):
    reader, settings = Reader(filled), MetricsSettings()
    together = metrics_of(reader, Scope("acme"), NOW)
    some = [Key("acme", endpoint.of["endpoint"]) for endpoint in RANDOM[:3]]
    few = metrics_of(reader, Scope("acme").of(some), NOW)
    assert repr(few) == repr({key: together[key] for key in few})  # NaN is not equal to itself
    assert len(few) >= 2
    for endpoint in [each for each, _ in CASES.values()] + RANDOM[:80]:
        name = endpoint.of["endpoint"]
        alone = asyncio.run(read_endpoint_metrics(reader, "acme", name, NOW, settings))
        assert repr(together.get(Key("acme", name))) == repr(alone), name
    assert repr(metrics_of(reader, EVERYTHING, NOW)) == repr(together)


def test_the_views_of_now_are_those_of_the_moment(filled):
    for name in ("replica_signals", "endpoint_signals"):
        columns = [column[0] for column in filled.query(f"DESCRIBE {name}").result_rows]
        assert columns == list(filled.query(f"SELECT * FROM {name}_at(at = now64(3, 'UTC'))").column_names)
        filled.query(f"SELECT * FROM {name}")


@pytest.mark.parametrize("query", [LEVELS, HARDWARE], ids=["levels", "hardware"])
def test_the_means_are_those_of_the_views(query):
    (migration,) = [each for each in read_migrations() if each.name == "autoscaling"]
    inner = query.partition("FROM\n(\n")[2].rpartition(")")[0].replace("AND WHOSE", "")
    views = [" ".join(statement.sql.split()) for statement in migration.statements]
    assert any(" ".join(inner.split()) in view for view in views)


def view_in_force(name: str) -> str:
    """Return the statement that made the view last."""
    statements = [each.sql for migration in read_migrations() for each in migration.statements]
    return [each for each in statements if re.search(rf"VIEW (IF NOT EXISTS )?{name} ", each)][-1]


def test_bounds_in_sql_are_those_of_the_sources():
    views = ("agent_levels_at", "replica_hardware_at", "replica_signals_at", "endpoint_signals_at")
    text = " ".join(word for name in views for word in view_in_force(name).split())
    assert f"reported_us + {WINDOW_S * 1_000_000})" in text
    assert f"reported_us + {HARDWARE_WINDOW_S * 1_000_000})" in text
    assert f">= toUnixTimestamp64Micro({{at:DateTime64(3, 'UTC')}}) - {CURRENT_FOR_S * 1_000_000}" in text
    assert f"INTERVAL {FRESH_FOR_S} SECOND AS is_fresh" in text
    presence = Presence()
    heartbeat = f"INTERVAL {presence.heartbeat.total_seconds():.0f} SECOND"
    assert all(f"{heartbeat} AS {name}" in text for name in ("lives", "late", "quiet", "has_resumed"))
    assert f"INTERVAL {presence.grace.total_seconds() / 60:.0f} MINUTE" in text
    assert f"INTERVAL {presence.waiting.days} DAY, INTERVAL" in text
