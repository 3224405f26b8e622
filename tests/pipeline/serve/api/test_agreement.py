"""Agreement: the API, the SQL views and the open-metrics endpoint give the same figures for the same data.

The data is a Kafka log of batches like those of agents, folded and stored as by a worker, then once more as by a
restarted worker, and rolled up.
"""

import asyncio
import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.benchmarks.log import request_log
from tests.pipeline.serve.api.executor import ClientExecutor
from tests.support.stored import insert_rows
from tests.support.waiting import eventually

from endpoint_analytics.pipeline.core.boots import Boot
from endpoint_analytics.pipeline.core.chunks import ChunkRule
from endpoint_analytics.pipeline.core.partition import Bounds, PartitionFold
from endpoint_analytics.pipeline.core.stream_folds import RequestsFold
from endpoint_analytics.pipeline.store.rollup import roll_up

REPLICAS, MESSAGES = 3, 240
RANGE = "from=now-15m&to=now&step=10"


def stored_rows(records, take):
    """Fold, flushing after every `take` records and before each new chunk: the rows of each flush."""
    fold, opened = PartitionFold(RequestsFold(), "requests", 0, ChunkRule(), Bounds()), False
    for start in range(0, len(records), take):
        for begins, run in fold.runs(records[start : start + take]):
            if begins:
                if opened:
                    yield fold.take_rows(closing=True)
                fold.open(run[0])
                opened = True
            decoded = fold.decode(run)
            fold.restore(Boot(key) for key in fold.unknown(decoded))
            fold.fold(run, decoded)
        yield fold.take_rows()


@pytest.fixture(scope="module", autouse=True)
def _log(client):
    begin = datetime.now(UTC) - timedelta(seconds=MESSAGES // REPLICAS + 2)
    records = request_log(MESSAGES, 30, REPLICAS, random.Random(11), int(begin.timestamp() * 1e6))
    for take in (7, 50):
        for rows in stored_rows(records, take):
            insert_rows(client, rows)
    asyncio.run(roll_up(ClientExecutor(client)))


@pytest.fixture(scope="module")
def headers(operator_token):
    return {"Authorization": f"Bearer {operator_token}"}


@pytest.fixture(scope="module")
def scraped(service, headers):
    text = service.get("/v2/endpoint/bench/endpoint/open-metrics", headers).text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


@pytest.fixture(scope="module")
def ask(service, headers):
    def ask(query):
        answer = service.get(f"/v2/endpoint/bench/endpoint/{query}", headers)
        assert answer.status == 200, answer.text
        return json.loads(answer.body)

    return ask


def test_requests_by_status_and_replica(ask, scraped, client):
    summary = ask(f"summary?{RANGE}")["summary"]
    metrics = Counter()
    for sample in scraped:
        if sample.name == "http_requests_total":
            metrics[sample.labels["status_code"]] += int(sample.value)
    assert summary["statuses"] == dict(metrics)
    view = client.query(
        "SELECT sumMap(status.1, status.2) FROM requests_10s WHERE namespace = 'bench'"
    ).result_rows
    assert {str(code): count for code, count in zip(*view[0][0], strict=True)} == dict(metrics)
    for replica in {s.labels["replica_id"] for s in scraped if s.name == "http_requests_total"}:
        of_one = {
            s.labels["status_code"]: int(s.value)
            for s in scraped
            if s.name == "http_requests_total" and s.labels["replica_id"] == replica
        }
        assert ask(f"summary?{RANGE}&replica={replica}")["summary"]["statuses"] == of_one


@pytest.mark.parametrize("step", [10, 60, 3600])
def test_series_add_up_to_the_boxes_at_every_level(ask, step):
    answer = ask(f"series?from=now-15m&step={step}&series=requests,latency&include=summary&by=status")
    sums = {
        each["name"]: sum(value or 0 for value in each["values"])
        for each in answer["series"]
        if each["group"] == "requests"
    }
    aborted = sums.pop("aborted")
    assert sums == answer["summary"]["statuses"]
    assert aborted == answer["summary"]["aborted"]["count"]
    (counts,) = [e["values"] for e in answer["series"] if (e["group"], e["name"]) == ("latency", "count")]
    assert sum(value or 0 for value in counts) == answer["summary"]["latency"]["count"]


def test_quantiles_and_means(ask, scraped, client):
    latency = ask(f"summary?{RANGE}")["summary"]["latency"]
    shown = {s.labels["quantile"]: s.value for s in scraped if s.name == "latency_distribution" and s.labels}
    for name, quantile in (("p50", "0.5"), ("p90", "0.9"), ("p95", "0.95"), ("p99", "0.99")):
        assert latency[name] == pytest.approx(shown[quantile])
    totals = {s.name: s.value for s in scraped if s.name.startswith("latency_distribution_")}
    assert latency["count"] == totals["latency_distribution_count"]
    assert latency["mean"] * latency["count"] == pytest.approx(totals["latency_distribution_sum"])
    view = client.query(
        "SELECT sketchQuantile(s.1, s.2, 0.99) / 1e6 FROM"
        " (SELECT sumMap(latency.1, latency.2) AS s FROM requests_10s WHERE namespace = 'bench')"
    ).result_rows
    assert latency["p99"] == pytest.approx(view[0][0])


def test_pending_is_the_views_for_each_replica(ask, client):
    replica = client.query("SELECT min(replica_id) FROM requests_10s WHERE namespace = 'bench'").result_rows[
        0
    ][0]
    answer = ask(f"series?{RANGE}&series=pending&replica={replica}")
    columns = {
        each["name"]: dict(zip(answer["at"], each["values"], strict=True)) for each in answer["series"]
    }
    rows = client.query(
        "SELECT toUnixTimestamp(window_start), pending_mean, pending_max, streaming_mean FROM requests_10s"
        f" WHERE namespace = 'bench' AND replica_id = '{replica}'"
    ).result_rows
    assert len(rows) > 5
    for at, mean, most, streaming in rows:
        assert columns["pending_mean"][at] == pytest.approx(mean)
        assert columns["pending_max"][at] == most
        assert columns["streaming_mean"][at] == pytest.approx(streaming)


def test_replicas_now(ask, scraped, service, headers):
    def running_of_all() -> tuple[int, int, int]:
        """Return the counts of the answers before and after the card, and the card."""
        before = running(ask("series?series=replicas&include=replicas"))
        cards = json.loads(service.get("/v2/endpoint/bench", headers).body)["endpoints"]
        return before, cards[0]["running"], running(ask("series?series=replicas&include=replicas"))

    def running(answer: dict[str, Any]) -> int:
        return sum(each["state"] == "running" for each in answer["replicas"])

    answer = ask("series?series=replicas&include=replicas")
    states = {s.labels["replica_id"] for s in scraped if s.name == "replica_state" and s.value == 1}
    assert {each["replica"] for each in answer["replicas"]} == states
    # A heartbeat may run out between the answers, or one be older by the cache's second: then they are read again.
    _, card, _ = eventually(
        running_of_all, lambda r: r[0] == r[1] == r[2], 5, "the card says what the series says"
    )
    (scraped_before,) = [s.value for s in scraped if s.name == "running_replicas"]
    assert card <= scraped_before  # heartbeats only run out here


def test_pending_now(ask, scraped):
    pending = {s.labels["replica_id"]: s.value for s in scraped if s.name == "pending_requests"}
    now = {each["replica"]: each["pending"] for each in ask("replicas")["replicas"]}
    assert all(now[replica] in (value, 0) for replica, value in pending.items())
