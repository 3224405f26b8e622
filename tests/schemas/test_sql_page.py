"""The pages of SQL on a real engine with an endpoint's last ten minutes: each query runs, with correct results."""

import math
import re
import time

import numpy as np
import pytest
from tests.pipeline.core.worker import Table, Worker
from tests.pipeline.store.rows import all_known
from tests.schemas.pages import DOCS, blocks
from tests.support.stored import insert_rows

from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.pipeline.core.chunks import Record
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.engine import EngineBatch
from endpoint_analytics.schemas.hardware import Accelerator, HardwareBatch
from endpoint_analytics.schemas.replicas import EndpointSettings, ReplicaState
from endpoint_analytics.schemas.requests import Aborted, Arrived, Finished, RequestBatch, Responded, Totals

PAGES = ("sql.md", "questions.md")
QUERIES = [query for page in PAGES for query in blocks(page, "sql")]
BATCHES = 120  # of 5 s each
LENGTH_US = 5_000_000
LOST = 7
LATENCIES_US = np.random.default_rng(3).lognormal(12, 1, (BATCHES, 2, 10)).astype(np.int64)
WHERE = {"namespace": "acme", "endpoint": "llm"}


def title(query: str) -> str:
    (text,) = [text for page in PAGES if query in (text := (DOCS / page).read_text())]
    return re.findall(r"^#+ (.+)$", text.split(query)[0], re.MULTILINE)[-1]


def request_batch(start_us: int, seq: int, replica: int) -> RequestBatch:
    """Ten requests that finish, one that is aborted, and one more that stays pending."""
    spans = LATENCIES_US[seq, replica].tolist()
    begun = seq * 12
    return RequestBatch(
        **WHERE,
        replica_id=f"r{replica}",
        boot_id="b",
        seq=seq,
        start_us=start_us + seq * LENGTH_US,
        end_us=start_us + (seq + 1) * LENGTH_US,
        pending=seq,
        streaming=0,
        oldest_pending_us=seq * LENGTH_US,
        arrived=Arrived([0] * 12),
        responded=Responded([9] * 10, spans, [200] * 8 + [404, 503]),
        finished=Finished([9] * 10, spans, [200] * 8 + [404, 503]),
        aborted_pending=Aborted([5], [5]),
        totals=Totals(arrived=begun + 12, dropped={"buffer_full": 2} if replica else {}),
    )


def hardware_batch(start_us: int, seq: int, replica: int) -> HardwareBatch:
    return HardwareBatch(
        **WHERE,
        replica_id=f"r{replica}",
        boot_id="b",
        seq=seq,
        start_us=start_us + seq * LENGTH_US,
        end_us=start_us + (seq + 1) * LENGTH_US,
        at_us=[0],
        replica={"cpu_percent": [20.0 + 40 * replica], "oom_kills": [oom_kills(seq) if replica else 5.0]},
        accelerators=[
            Accelerator(
                "gpu0", {"gpu_memory_used_bytes": [3e9 + replica * 1e9], "gpu_memory_total_bytes": [8e9]}
            )
        ],
    )


def oom_kills(seq: int) -> float:
    """Two earlier ones, one more, and one in the next container."""
    return 2.0 if seq < 40 else 3.0 if seq < 80 else 1.0


def engine_batch(start_us: int, seq: int, replica: int) -> EngineBatch:
    return EngineBatch(
        **WHERE,
        replica_id=f"r{replica}",
        boot_id="b",
        seq=seq,
        start_us=start_us + seq * LENGTH_US,
        end_us=start_us + (seq + 1) * LENGTH_US,
        at_us=[0],
        engine="vllm",
        readings={
            "engine_waiting_requests": [2.0 + 2 * replica],
            "engine_generated_tokens_per_second": [100.0 + 100 * replica],
        },
    )


def replica_messages(start_us: int):
    yield EndpointSettings(**WHERE, at_us=start_us, min_replicas=1, max_replicas=2)
    yield EndpointSettings(**WHERE, at_us=start_us + 60_000_000, min_replicas=1, max_replicas=4)
    for replica in range(2):
        for state, at_s in (("pending", 0), ("pulling", 2), ("initializing", 12), ("running", 42.5)):
            at_us = start_us + replica * 1_000_000 + int(at_s * 1e6)
            yield ReplicaState(**WHERE, replica_id=f"r{replica}", at_us=at_us, state=state)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    end_us = (
        int(time.time()) + 60
    ) * 1_000_000  # in the future, so that "now" includes it while these tests run
    start_us = end_us - BATCHES * LENGTH_US
    of_requests = [
        request_batch(start_us, seq, replica)
        for seq in range(BATCHES)
        for replica in range(2)
        if (seq, replica) != (LOST, 1)
    ]
    of_hardware = [hardware_batch(start_us, seq, replica) for seq in range(BATCHES) for replica in range(2)]
    of_engines = [engine_batch(start_us, seq, replica) for seq in range(BATCHES) for replica in range(2)]
    table = Table()
    for stream, messages in (
        ("requests", of_requests),
        ("hardware", of_hardware),
        ("engine", of_engines),
        ("replicas", replica_messages(start_us)),
    ):
        worker = Worker(stream, table)
        values = [encode(message) for message in messages] + [b"?"]
        worker.read(
            [
                Record(offset, (start_us + (offset + 1) * (end_us - start_us) // len(values)) // 1000, value)
                for offset, value in enumerate(values)
            ]
        )
        worker.close()
    with ClickHouseProcess(tmp_path_factory.mktemp("sql") / "clickhouse") as server:
        config = server.config()
        migrate(config)
        client = connect(config)
        insert_rows(client, table.written)
        # The roller leaves an hour alone until it is over.
        client.command(
            "INSERT INTO request_hours (namespace, endpoint, window_start, arrived, latency_buckets, latency_counts) "
            "VALUES ('acme', 'llm', toStartOfDay(now()) - INTERVAL 300 DAY, 7, [1280], [7])"
        )
        all_known(client)
        client.close()
        client = connect(server.analyst_config())  # the account that the page recommends
        yield client
        client.close()


def ask(client, heading: str) -> list[dict[str, object]]:
    (query,) = [query for query in QUERIES if title(query) == heading]
    return list(client.query(query).named_results())


@pytest.mark.parametrize("query", QUERIES, ids=title)
def test_each_query_answers(client, query):
    result = client.query(query)
    assert result.result_rows
    assert len(set(result.column_names)) == len(result.column_names)
    for row in result.result_rows:
        assert not any(value is None or (isinstance(value, float) and math.isnan(value)) for value in row)


def test_shares_of_classes(client):
    rows = ask(client, "Share of each class of status")
    count = 2 * BATCHES - 1
    assert [(row["status_class"], row["times"], row["percent"]) for row in rows] == [
        ("2xx", 8 * count, 80),
        ("4xx", count, 10),
        ("5xx", count, 10),
    ]


def test_p95_by_minute_is_within_one_per_cent(client):
    rows = ask(client, "p95 of latency and of time to first byte, by minute")
    assert sum(row["requests"] for row in rows) == 10 * (2 * BATCHES - 1)
    start_s = ask(client, "The maximum replicas setting over time")[0]["at"].timestamp()
    minutes: dict[int, list[int]] = {}
    for seq in range(BATCHES):
        for replica in range(2):
            if (seq, replica) != (LOST, 1):
                minute = int(start_s + seq * 5) // 60 * 60
                minutes.setdefault(minute, []).extend(LATENCIES_US[seq, replica].tolist())
    for row in rows:
        values = minutes[int(row["minute"].timestamp())]
        exact = float(np.quantile(values, 0.95, method="inverted_cdf")) / 1e6
        assert row["latency_p95_seconds"] == pytest.approx(exact, rel=0.0101)


def test_the_latencies_of_all_rows(client):
    values = (
        np.concatenate([LATENCIES_US[:, 0].ravel(), np.delete(LATENCIES_US[:, 1], LOST, 0).ravel()]) / 1e6
    )
    (row,) = ask(client, "p95 of every endpoint, over a whole day")
    exact = float(np.quantile(values, 0.95, method="inverted_cdf"))
    assert (row["requests"], row["p95_seconds"]) == (len(values), pytest.approx(exact, rel=0.02))
    (row,) = ask(client, "Share of the requests that took less than a second")
    assert row["percent"] == pytest.approx(100 * float(np.mean(values <= 1)), abs=0.5)
    rows = ask(client, "Which replica is slower than the others")
    assert {row["replica_id"]: row["requests"] for row in rows} == {
        "r0": 10 * BATCHES,
        "r1": 10 * (BATCHES - 1),
    }


def test_hours_and_losses(client):
    rows = ask(client, "How many requests arrived, failed and waited, by hour")
    batches = 2 * BATCHES - 1
    assert [sum(row[name] for row in rows) for name in ("requests", "failed")] == [12 * batches, batches]
    rows = ask(client, "What was lost, and why")
    assert {(row["reason"], row["requests"], row["batches"]) for row in rows} == {
        ("buffer_full", 2, 0),
        ("missing", 12, 1),
    }


def test_requests_pending_now(client):
    (row,) = ask(client, "Requests pending now")
    assert (row["pending_now"], row["replicas"]) == (2 * BATCHES, 2)


def test_time_until_ready_and_where_it_goes(client):
    assert [row["seconds_to_ready"] for row in ask(client, "Time until a replica was ready")] == [42.5, 42.5]
    rows = ask(client, "Where that time goes")
    assert [(row["state"], row["mean_seconds"]) for row in rows] == [
        ("initializing", 30.5),
        ("pulling", 10),
        ("pending", 2),
    ]


def test_processes_killed_for_want_of_memory(client):
    rows = ask(client, "Processes killed for lack of memory, by replica")
    assert [(row["replica_id"], row["killed"]) for row in rows] == [("r1", 2)]


def test_what_was_lost(client):
    rows = ask(client, "Batches and requests that were lost on the way")
    assert [(row["replica_id"], row["batches_missing"], row["requests_missing"]) for row in rows] == [
        ("r1", 1, 12)
    ]
    assert rows[0]["requests_dropped_by_agent"] == 2


def test_hardware(client):
    assert {row["cpu_percent"] for row in ask(client, "Mean processor use, by minute")} == {40}
    rows = ask(client, "Fullest GPU memory, by replica and device")
    assert [(row["replica_id"], row["greatest_percent"]) for row in rows] == [("r1", 50), ("r0", 37.5)]


def test_tokens(client):
    rows = ask(client, "Tokens per second and waiting requests of each engine, by minute")
    assert {
        (row["replica_id"], row["engine"], row["tokens_per_second"], row["most_waiting"]) for row in rows
    } == {
        ("r0", "vllm", 100, 2),
        ("r1", "vllm", 200, 4),
    }


def test_rejected_messages(client):
    rows = ask(client, "Messages that were rejected, and an example of each reason")
    assert {(row["topic"], row["reason"], row["messages"]) for row in rows} == {
        (f"ea.{stream}", "not_json", 1) for stream in ("requests", "hardware", "engine", "replicas")
    }


def test_the_page_states_the_retention_of_each_table(client):
    reported = {}
    for cell, days in re.findall(r"^\| (`.+?) \|.*\| (.+?) \|$", (DOCS / "sql.md").read_text(), re.MULTILINE):
        names, numbers = re.findall(r"`(\w+)`", cell), re.findall(r"\d+", days) or ["0"]
        reported |= zip(names, numbers if len(numbers) == len(names) else numbers * len(names), strict=True)
    kept = client.query(
        r"SELECT name, extract(engine_full, 'toIntervalDay\((\d+)\)') FROM system.tables "
        "WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name != 'schema_migrations'"
    ).result_rows
    assert {name: reported[name] for name, _ in kept} == {name: days or "0" for name, days in kept}


def test_the_page_names_every_table_and_view_and_no_other(client):
    known = {
        row[0]
        for row in client.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine != 'MaterializedView'"
        ).result_rows
    }
    listed = re.findall(r"^\| (`.+?) \|", (DOCS / "sql.md").read_text(), re.MULTILINE)
    assert {name for cell in listed for name in re.findall(r"`(\w+)`", cell)} == known


def test_the_engine_reads_what_makes_the_account_elsewhere(client):
    """There is no server with SQL users here; the parser checks that each one is a valid statement."""
    _, _, text = (DOCS / "sql.md").read_text().partition("create an equivalent account with\n\n")
    block = text.partition("\n## ")[0]
    statements = [one for one in block.split(";\n") if one.strip()]
    assert len(statements) == 4
    for statement in statements:
        [(read,)] = client.query(
            "SELECT formatQuery({sql:String})", parameters={"sql": statement}
        ).result_rows
        assert read.split()[:2] == statement.split()[:2]
