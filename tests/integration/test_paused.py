"""A partition full of unusable messages: every outlet reports it with a hint, and nothing sent to it is lost.

One replica sends its requests to that partition, and continues to serve while it is paused.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaProducer
from tests.integration.browsing import open_endpoint, signed_in
from tests.integration.replica import Replica
from tests.support.oracle import differences
from tests.support.parts import ROOT, Stack
from tests.support.waiting import eventually

pytestmark = [pytest.mark.whole, pytest.mark.timeout(400)]

NAMESPACE, ENDPOINT, REPLICA = "paused", "llm", "paused-0"
ONE = f"/v2/endpoint/{NAMESPACE}/{ENDPOINT}"
EXTERNAL = (
    f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pending_requests"
    f"?labelSelector=endpoint={ENDPOINT}"
)
FLOOD = 4_200
"""More than two of the spans that the worker judges, each message from a sender of its own."""


@dataclass
class Ways:
    """The outlets of the stack."""

    stack: Stack
    health_port: int

    def get(self, path: str, port: int = 0) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.stack.serve_port, timeout=20)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.stack.token}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def json(self, path: str) -> dict:
        status, text = self.get(path)
        assert status == 200, text
        return json.loads(text)

    def worker(self, path: str) -> str:
        try:
            return self.get(path, self.health_port)[1]
        except OSError:
            return ""

    def replica(self) -> dict | None:
        (found,) = self.json(f"{ONE}/replicas")["replicas"] or [None]
        return found

    def partitions(self, *words: str) -> str:
        """Run `endpoint-analytics partitions` like an operator."""
        command = [sys.executable, "-m", "endpoint_analytics.infra.command", "partitions", *words]
        done = subprocess.run(
            command, env=self.stack.environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def ways(tmp_path) -> Iterator[Ways]:
    with Stack(tmp_path, partitions=2) as stack:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        assert stack.worker.stop() == 0
        words = ["worker", "--instance-id", "worker-1", "--health-port", str(port)]
        words += [
            "--max-rejected-share",
            "0.5",
        ]  # it does not heal within the test: every other message would have to
        stack.child("watched", *words, ready="worker ready").start()
        yield Ways(stack, port)


def flood(stack: Stack, partition: int) -> None:
    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap_servers) as producer:
            for number in range(FLOOD):
                await producer.send(
                    "endpoint-analytics.requests", b"{}", key=b"%d" % number, partition=partition
                )
            await producer.flush()

    with ThreadPoolExecutor(1) as other:  # this thread's event loop is the browser's
        other.submit(asyncio.run, send()).result()


@pytest.mark.slow
def test_a_flood_of_unusable_messages_on_one_partition(ways: Ways) -> None:
    stack = ways.stack
    replica = Replica(stack, ENDPOINT, REPLICA, NAMESPACE).start()
    for _ in range(20):
        assert replica.get("/status/200") == 200
    arrived = "SELECT sum(arrived), any(partition) FROM boots FINAL WHERE stream = 'requests'"
    [(_, partition)] = eventually(
        lambda: stack.rows(arrived), lambda rows: rows[0][0] == 20, 60, "20 requests"
    )
    hanging = replica.begin("/hang")
    eventually(
        lambda: stack.samples(ENDPOINT, "pending_requests", NAMESPACE),
        lambda found: list(found.values()) == [1],
        60,
        "one is pending",
    )
    assert ways.partitions("list") == "no partition is paused\n"
    with signed_in(stack) as context:
        entry, page = context.pages[0], open_endpoint(context, stack, NAMESPACE, ENDPOINT)
        flood(stack, partition)
        for each in (entry, page):
            each.get_by_role("alert", name="Paused partitions").wait_for(timeout=60_000)
        for _ in range(20):
            assert replica.get("/status/503") == 503
        # What it knows is as old as the pause, which is late after the heartbeat timeout.
        found = eventually(ways.replica, lambda found: found["pending"] is None, 60, "pending is unknown")
        (paused,) = ways.json(f"{ONE}/series?include=replicas")["paused"]
        assert (paused["stream"], paused["partition"]) == ("requests", partition)
        why = f"requests/{partition} is paused: {paused['reason']}"
        assert " of the last " in why
        assert found["unknown_reason"] == why
        assert (found["state"], found["unknown_since"]) == ("running", None)  # by its hardware's partition
        command = f"endpoint-analytics partitions resume requests {partition}"
        assert paused["command"] == command
        assert ways.json(f"/v2/endpoint/{NAMESPACE}")["paused"] == [paused]
        for each in (entry, page):
            said = each.get_by_role("alert", name="Paused partitions").inner_text()
            assert f"Partition {partition} of requests has been paused since " in said
            assert paused["reason"] in said
            assert command in said
        text = stack.scrape(ENDPOINT, NAMESPACE)
        assert "\npending_requests{" not in text
        assert "\nrunning_replicas 1\n" in text
        lines = {line for line in ways.get("/metrics")[1].splitlines() if "paused_partitions{" in line}
        assert 'query_service_paused_partitions{stream="requests"} 1' in lines
        assert 'query_service_paused_partitions{stream="hardware"} 0' in lines
        status, text = ways.get(EXTERNAL)
        assert status == 503
        assert why in text
        assert command in text
        ready = ways.worker("/ready")
        assert ready.startswith("ready\ndegraded: ")  # all else goes on: nobody is to restart it
        assert f"requests/{partition} is paused" in ready
        assert 'worker_paused_partitions{stream="requests"} 1' in ways.worker("/metrics")
        listed = ways.partitions("list")
        assert listed.startswith(f"requests/{partition} paused since ")
        assert paused["reason"] in listed

        assert f"requests/{partition} resumes within seconds" in ways.partitions(*command.split()[2:])
        for each in (entry, page):
            each.get_by_role("alert", name="Paused partitions").wait_for(state="hidden", timeout=60_000)
        eventually(
            lambda: stack.samples(ENDPOINT, "pending_requests", NAMESPACE),
            lambda found: list(found.values()) == [1],
            60,
            "it is known again",
        )
        eventually(lambda: ways.worker("/ready"), lambda said: said == "ready\n", 30, "nothing is paused")
        assert ways.replica()["unknown_reason"] == ""
        assert "paused" not in ways.json(f"{ONE}/series?include=replicas")
        assert ways.partitions("list") == "no partition is paused\n"
    replica.release()
    hanging.close()
    for _ in range(5):
        assert replica.get("/status/200") == 200
    accepted = dict([replica.accepted()])
    eventually(
        lambda: differences(stack.client, NAMESPACE, accepted), lambda found: not found, 60, "all is counted"
    )
    rejected = "SELECT count(), uniqExact(offset), any(partition), uniqExact(reason) FROM rejected FINAL"
    assert stack.rows(rejected) == [(FLOOD, FLOOD, partition, 1)]
