"""Autoscaling signals on the real parts: SQL, JSON, external metrics, OpenMetrics and the topic agree."""

from __future__ import annotations

import http.client
import json

import pytest
from tests.integration.replica import Replica
from tests.integration.signals import read_signals, signals_sender
from tests.support.parts import Stack
from tests.support.waiting import eventually

from endpoint_analytics.pipeline.store.signals import FRESH_FOR_S

pytestmark = pytest.mark.whole

NAMESPACE, ENDPOINT = "scaled", "hanging"
NEAR = 0.9
"""Agents report from their start, and the requests arrive a moment later: means are so near to the levels."""


def ask(stack: Stack, path: str) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", stack.serve_port, timeout=20)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {stack.token}"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def said(stack: Stack) -> dict[str, float | None]:
    """The pending requests per running replica according to each outlet; None where it reports nothing."""
    status, body = ask(stack, f"/v2/endpoint/{NAMESPACE}/{ENDPOINT}/autoscaling")
    _, external = ask(
        stack,
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/k8s/pending_per_replica"
        f"?labelSelector=endpoint%3D{ENDPOINT}%2Cnamespace%3D{NAMESPACE}",
    )
    rows = stack.rows(
        "SELECT pending_per_replica FROM endpoint_signals WHERE namespace = {n:String} AND endpoint = {e:String}",
        n=NAMESPACE,
        e=ENDPOINT,
    )
    scraped = stack.samples(ENDPOINT, "autoscaling_pending_per_replica", NAMESPACE)
    newest = read_signals(stack, NAMESPACE)[-1:]
    value = external["items"][0]["value"] if external["kind"] == "ExternalMetricValueList" else None
    return {
        "sql": rows[0][0] if rows else None,
        "json": body["pending_per_replica"] if status == 200 else None,
        "external": None
        if value is None
        else float(value.removesuffix("m")) / (1000 if value.endswith("m") else 1),
        "open-metrics": scraped.get(()),
        "topic": newest[0].signal.pending_per_replica if newest else None,
    }


def all_near(level: float):
    return lambda found: all(
        value is not None and NEAR * level <= value <= level + 0.001 for value in found.values()
    )


def test_all_ways_tell_the_truth_of_hung_killed_and_silent_replicas(stack: Stack) -> None:
    sender = signals_sender(stack)
    sender.start()
    replicas = [Replica(stack, ENDPOINT, f"scaled-{number}", NAMESPACE).start() for number in range(3)]
    connections = [replicas[0].begin("/hang") for _ in range(3)] + [
        replicas[1].begin("/hang") for _ in range(2)
    ]
    try:
        eventually(lambda: said(stack), all_near(5 / 3), 40, "five requests hang at two of three replicas")
        _, body = ask(stack, f"/v2/endpoint/{NAMESPACE}/{ENDPOINT}/autoscaling")
        assert (body["running_replicas"], body["silent_replicas"]) == (3, 0)
        assert [round(each["pending_requests"], 0) for each in body["replicas"]] == [3, 2, 0]
        assert 0 <= body["cpu_percent"] <= 100
        assert 0 < body["memory_percent"] <= 100

        replicas[1].child.kill()
        eventually(
            lambda: said(stack), all_near(3 / 2), 40, "a replica that was killed took its requests with it"
        )
        _, body = ask(stack, f"/v2/endpoint/{NAMESPACE}/{ENDPOINT}/autoscaling")
        assert (body["running_replicas"], body["silent_replicas"]) == (2, 1)

        for replica in replicas:
            replica.child.kill()
        eventually(
            lambda: said(stack),
            lambda found: all(found[way] is None for way in found if way != "topic"),
            40,
            "nothing current is known",
        )
        eventually(
            lambda: ask(stack, f"/v2/endpoint/{NAMESPACE}/{ENDPOINT}/autoscaling"),
            lambda said: said[0] == 503 and "last heard" in said[1]["detail"],
            40,
            "the pipeline has come so far, and says who was not heard",
        )
    finally:
        for connection in connections:
            connection.close()
        sender.stop()
    signals = [stored.signal for stored in read_signals(stack, NAMESPACE)]
    assert all(signal.at_us % 1_000_000 == 0 for signal in signals)
    # The last one is no older than the silence that it takes to be known.
    newest = signals[-1]
    assert newest.at_us - newest.as_of_us <= FRESH_FOR_S * 1_000_000
    assert newest.pending_per_replica > 0
