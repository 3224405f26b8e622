"""On a real ClickHouse: rows stored repeatedly and out of order read back as the reference counts."""

import asyncio
import random
import time
import uuid
from collections import Counter, defaultdict

import numpy as np
import pytest
from tests.pipeline.core.logs import Log, make_log
from tests.pipeline.core.reference import comparable, reference
from tests.pipeline.core.worker import Worker
from tests.support.stored import insert_rows

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.pipeline.core.chunks import ChunkRule, Record
from endpoint_analytics.pipeline.core.sketch import BUCKETS, buckets_of, quantiles
from endpoint_analytics.pipeline.store.boot_states import read_boots
from endpoint_analytics.pipeline.store.connect import connect, connect_async
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.limits import MAX_COUNT, MAX_DURATION_US, MAX_LEVEL, MAX_SUM_US
from endpoint_analytics.schemas.requests import Finished, RequestBatch, Responded, Totals

REPLICA = ("namespace", "endpoint", "replica_id")
STRICT = {"input_format_skip_unknown_fields": 0, "input_format_defaults_for_omitted_fields": 0}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ClickHouseProcess(tmp_path_factory.mktemp("core") / "clickhouse") as process:
        yield process


@pytest.fixture
def config(server):
    config = server.config(f"t_{uuid.uuid4().hex[:8]}")
    migrate(config)
    return config


@pytest.fixture
def client(config):
    client = connect(config)
    yield client
    client.close()


def recent_log(stream: str, seed: int) -> Log:
    """Return a log of two days ago: the tables delete older data."""
    start_s = int(time.time()) // 86_400 * 86_400 - 2 * 86_400
    return make_log(stream, seed, 4, 80, ChunkRule(10_000, 30), start_us=start_s * 1_000_000)


def store(client, log: Log, seed: int) -> Worker:
    """Read the log with many flushes, and insert all rows shuffled, half of them twice."""
    rng = random.Random(seed)
    worker = Worker(log.stream, None, log.rule)
    for record in log.records:
        worker.read([record])
        if rng.random() < 0.5:
            worker.flush()
    worker.close()
    written = worker.table.written
    rows = written + rng.choices(written, k=len(written) // 2)
    rng.shuffle(rows)
    for start in range(0, len(rows), 20):
        insert_rows(client, rows[start : start + 20], STRICT)
    return worker


TIMES = {
    "window_start": "toUnixTimestamp(window_start)",
    "chunk_time": "toUnixTimestamp(chunk_time)",
    "at": "toString(toUnixTimestamp64Micro(at))",
    "first_at": "toString(toUnixTimestamp64Micro(first_at))",
    "last_at": "toString(toUnixTimestamp64Micro(last_at))",
    "last_append": "toString(toUnixTimestamp64Milli(last_append))",
    "append_time": "toString(toUnixTimestamp64Milli(append_time))",
}


def stored(client, table: str) -> list[dict[str, object]]:
    """Return the rows of FINAL in the form of the reference."""
    names = [
        row[0]
        for row in client.query(
            "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {t:String} "
            "AND default_kind != 'MATERIALIZED' "
            "ORDER BY position",
            parameters={"t": table},
        ).result_rows
    ]
    columns = ", ".join(TIMES.get(name, f"`{name}`") for name in names)
    found = client.query(f"SELECT {columns} FROM {table} FINAL").result_rows
    return [dict(zip(names, row, strict=True)) for row in found]


def plain(rows) -> list[list[tuple[str, object]]]:
    """Return rows as sorted lists, times without the point, so that two lists of rows compare."""
    made = []
    for row in rows:
        values = {
            name: value.replace(".", "").lstrip("0") or "0"
            if name in TIMES and isinstance(value, str)
            else value
            for name, value in row.items()
        }
        made.append(sorted(values.items()))
    return sorted(made, key=repr)


LOGS = [
    (stream, seed) for stream in ("requests", "hardware", "engine", "outcomes", "replicas") for seed in (1, 2)
]


@pytest.mark.parametrize(("stream", "seed"), LOGS)
def test_every_table_read_with_final_holds_the_reference_rows(client, stream, seed):
    log = recent_log(stream, seed)
    store(client, log, seed)
    for table, expected in reference(log).items():
        found = comparable({table: dict(enumerate(stored(client, table)))})[table]
        assert plain(found.values()) == plain(expected.values())


@pytest.mark.parametrize(("stream", "seed"), [case for case in LOGS if case[0] != "replicas"])
def test_boots_hold_the_newest_state_of_each_boot(client, stream, seed):
    log = recent_log(stream, seed)
    store(client, log, seed)
    newest = {}
    for row in sorted(reference(log)["boot_states"].values(), key=lambda row: row["version"]):
        newest[tuple(row[name] for name in (*REPLICA, "boot_id"))] = row
    found = comparable({"boots": dict(enumerate(stored(client, "boots")))})["boots"]
    assert plain(found.values()) == plain(newest.values())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_requests_10s_is_the_sum_of_the_reference(client, seed):
    log = recent_log("requests", seed)
    store(client, log, seed)
    windows = defaultdict(list)
    for row in reference(log)["request_windows"].values():
        windows[*(row[name] for name in REPLICA), row["window_start"]].append(row)
    found = {
        (*(row[name] for name in REPLICA), int(row["window_start"].timestamp())): row
        for row in client.query("SELECT * FROM requests_10s").named_results()
    }
    assert found.keys() == windows.keys()
    for key, rows in windows.items():
        view = found[key]
        for name in (
            "arrived",
            "finished",
            "aborted_pending",
            "aborted_streaming",
            "latency_count",
            "ttfb_count",
        ):
            assert view[name] == sum(row[name] for row in rows)
        for name in ("status", "latency", "ttfb"):
            counts = sum((Counter(row[name]) for row in rows), Counter())
            assert dict(zip(*view[name], strict=True)) == dict(counts)
        boots = defaultdict(list)
        for row in rows:
            boots[row["boot_id"]].append(row)
        for name in ("pending_max", "streaming_max"):
            assert view[name] == sum(max(row[name] for row in of_boot) for of_boot in boots.values())
        covered_us = max(row["covered_to_us"] for row in rows) - min(row["covered_from_us"] for row in rows)
        for name in ("pending", "streaming"):
            total = sum(row[f"{name}_request_us"] for row in rows)
            assert view[f"{name}_mean"] == pytest.approx(total / max(covered_us, 1))
        assert view["oldest_pending_seconds"] == max(row["oldest_pending_us"] for row in rows) / 1e6
        for name in ("latency", "ttfb"):
            assert view[f"{name}_sum_seconds"] == sum(row[f"{name}_sum_us"] for row in rows) / 1e6


VIEWS = {"hardware": (*REPLICA, "device", "metric"), "engine": (*REPLICA, "metric")}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("stream", VIEWS)
def test_the_view_of_samples_is_the_mean_of_the_reference(client, stream, seed):
    log = recent_log(stream, seed)
    store(client, log, seed)
    names = VIEWS[stream]
    windows = defaultdict(list)
    for row in reference(log)[f"{stream}_windows"].values():
        windows[*(row[name] for name in names), row["window_start"]].append(row)
    found = {
        (*(row[name] for name in names), int(row["window_start"].timestamp())): row
        for row in client.query(f"SELECT * FROM {stream}_10s").named_results()
    }
    assert found.keys() == windows.keys()
    for key, rows in windows.items():
        samples = sum(row["samples"] for row in rows)
        assert found[key]["samples"] == samples
        coarse = 1e-15 * max(max(abs(row["min"]), abs(row["max"])) for row in rows)  # floats cancel out
        mean = sum(row["sum"] for row in rows) / samples
        assert found[key]["mean"] == pytest.approx(mean, abs=max(coarse, 1e-9))
        assert found[key]["min"] == min(row["min"] for row in rows)
        assert found[key]["max"] == max(row["max"] for row in rows)


@pytest.mark.parametrize(("stream", "seed"), [case for case in LOGS if case[0] != "replicas"])
def test_boots_are_restored_as_of_any_chunk(client, config, stream, seed):
    log = recent_log(stream, seed)
    worker = store(client, log, seed)
    keys = {
        BootKey(*(row[name] for name in BootKey._fields))
        for row in worker.table.final()["boot_states"].values()
    }
    keys.add(BootKey("acme", "llm-0", "r0", "never-heard-of"))

    async def restored() -> None:
        client = await connect_async(config)
        try:
            for chunk in [*worker.chunks, worker.chunks[-1] + 1]:
                found = await read_boots(client, stream, 0, chunk, keys)
                assert found == worker.table.read_boots(stream, 0, chunk, sorted(keys))
        finally:
            await client.close()

    asyncio.run(restored())


def test_the_largest_values_come_back_as_they_were(client, config):
    now_us, key = int(time.time()) * 1_000_000, BootKey("acme", "llm", "r0", "b0")
    batch = RequestBatch(
        **key._asdict(),
        seq=MAX_COUNT,
        start_us=now_us - 1,
        end_us=now_us,
        pending=MAX_LEVEL,
        streaming=MAX_LEVEL,
        oldest_pending_us=MAX_DURATION_US,
        responded=Responded([0], [MAX_DURATION_US], [599]),
        finished=Finished([0], [MAX_DURATION_US], [599]),
        totals=Totals(arrived=MAX_COUNT, status={"599": MAX_COUNT}, duration_us=MAX_SUM_US),
    )
    worker = store(client, Log("requests", ChunkRule(), [Record(2**62, now_us // 1000, encode(batch))]), 1)
    for table in ("request_windows", "boot_states", "chunks"):
        found = comparable({table: dict(enumerate(stored(client, table)))})[table]
        assert plain(found.values()) == plain(comparable(worker.table.final())[table].values())

    async def restored() -> None:
        client = await connect_async(config)
        try:
            found = await read_boots(client, "requests", 0, 2**62 + 1, [key])
            assert found == worker.table.read_boots("requests", 0, 2**62 + 1, [key])
        finally:
            await client.close()

    asyncio.run(restored())


def test_sketch_quantile_is_the_quantile_of_core(client):
    rng = np.random.default_rng(5)
    qs = [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0]
    for size in (1, 2, 3, 10, 100, 1_000, 20_000):
        values = np.clip(rng.lognormal(11, 4, size), 0, MAX_DURATION_US).astype(np.int64)
        buckets, counts = np.unique(buckets_of(values), return_counts=True)
        reported = client.query(
            "SELECT arrayMap(q -> sketchQuantile({b:Array(UInt16)}, {c:Array(UInt64)}, q), {qs:Array(Float64)})",
            parameters={"b": buckets.tolist(), "c": counts.tolist(), "qs": qs},
        ).result_rows[0][0]
        assert reported == pytest.approx(quantiles(buckets.tolist(), counts.tolist(), qs), rel=1e-12)


def test_merging_in_sql_is_merging_in_core(client):
    rng = np.random.default_rng(6)
    parts = [rng.integers(0, BUCKETS, 50) for _ in range(20)]
    sketches = [Counter(part.tolist()) for part in parts]
    client.command(
        "CREATE TABLE parts (b Array(UInt16), c Array(UInt64)) ENGINE = MergeTree ORDER BY tuple()"
    )
    client.insert("parts", [[list(one), list(one.values())] for one in sketches], column_names=["b", "c"])
    buckets, counts = client.query("SELECT sumMap(b, c) FROM parts").result_rows[0][0]
    assert dict(zip(buckets, counts, strict=True)) == dict(sum(sketches, Counter()))
    assert buckets == sorted(buckets)
