"""Losses of a real agent during a Kafka outage are reported by every outlet, and match what is missing."""

from __future__ import annotations

import http.client
import json
import time

import pytest
from tests.integration.browsing import open_endpoint, signed_in
from tests.integration.replica import Replica
from tests.support.parts import Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.whole

NAMESPACE, ENDPOINT, REPLICA = "lossy", "llm", "lossy-0"
AWAY_S = 12


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("losses"), partitions=2) as stack:
        yield stack


def losses(stack: Stack) -> list[dict]:
    connection = http.client.HTTPConnection("127.0.0.1", stack.serve_port, timeout=20)
    try:
        connection.request(
            "GET",
            f"/v2/endpoint/{NAMESPACE}/{ENDPOINT}/summary?from=now-5m",
            headers={"Authorization": f"Bearer {stack.token}"},
        )
        answer = json.loads(connection.getresponse().read())
        return answer.get("losses") or []
    finally:
        connection.close()


@pytest.mark.slow
def test_what_overflowed_while_kafka_was_away(stack) -> None:
    replica = Replica(stack, ENDPOINT, REPLICA, NAMESPACE)
    replica.child.environment = {**replica.child.environment, "ENDPOINT_ANALYTICS_OUTBOX_BATCHES": "3"}
    replica.start()
    for _ in range(20):
        assert replica.get("/status/200") == 200
    eventually(
        lambda: stack.rows("SELECT sum(arrived) FROM boots FINAL"), lambda rows: rows == [(20,)], 30, "20"
    )
    assert losses(stack) == []
    begun_s = time.time()
    stack.kafka.stop()
    sent, end = 20, time.monotonic() + AWAY_S
    while time.monotonic() < end:
        assert replica.get("/status/200") == 200
        sent += 1
        time.sleep(0.05)
    stack.kafka.start()
    for _ in range(20):
        assert replica.get("/status/200") == 200
    sent += 20
    key, accepted = replica.accepted()
    assert accepted.totals.arrived == sent
    [(stored, missing)] = eventually(
        lambda: stack.rows(
            "SELECT arrived, missing FROM boots FINAL WHERE stream = 'requests' AND agent_arrived = {sent:UInt64}",
            sent=sent,
        ),
        bool,
        60,
        "the newest total is stored",
    )
    lost = sent - stored
    assert 0 < lost < sent
    assert missing > 0

    # OpenMetrics
    dropped = stack.samples(ENDPOINT, "dropped_requests_total", NAMESPACE)
    assert dropped == {("buffer_full", REPLICA): lost, ("missing", REPLICA): 0}
    gaps = stack.samples(ENDPOINT, "missing_batches", NAMESPACE)
    assert gaps[REPLICA, "requests"] == missing
    # JSON
    found = losses(stack)
    assert sum(each["requests"] for each in found) == lost
    assert sum(each["batches"] for each in found) == missing
    assert {reason for each in found for reason in each["reasons"]} == {"buffer_full"}
    assert all(each["from"] <= each["to"] for each in found)
    assert min(each["from"] for each in found) >= begun_s - 5
    # SQL
    [(row,)] = stack.rows(
        "SELECT toInt64(agent_arrived) - toInt64(arrived) FROM boots FINAL WHERE stream = 'requests' AND missing > 0"
    )
    assert row == lost
    assert key.replica_id == REPLICA
    # The page
    with signed_in(stack) as context:
        page = open_endpoint(context, stack, NAMESPACE, ENDPOINT)
        page.locator(".losses li").first.wait_for()
        said = page.locator(".losses").inner_text()
        for each in found:
            assert f"{each['requests']:,} request" in said
        assert REPLICA in said
        assert "buffer full" in said
        assert page.locator('[data-graph="requests"].has-losses').count() == 1
        assert page.locator('[data-graph="latency"].has-losses').count() == 1
