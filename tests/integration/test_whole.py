"""End to end, on the real parts: from requests to a real HTTP server to the open-metrics endpoint."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_text
from tests.integration.replica import Replica
from tests.pipeline.serve.api.traffic import exact_quantile
from tests.support.oracle import differences
from tests.support.parts import Stack
from tests.support.waiting import eventually

from endpoint_analytics.agents.hardware.cgroup import OwnCgroup

pytestmark = pytest.mark.whole


def hang_up(connection: socket.socket) -> None:
    """Reset the connection, like a client that dies."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stored_exactly(stack: Stack, namespace: str, *replicas: Replica) -> None:
    accepted = dict(replica.accepted() for replica in replicas)
    eventually(
        lambda: differences(stack.client, namespace, accepted),
        lambda found: not found,
        20,
        "equality with the agents",
    )


def test_what_clients_saw_is_what_the_endpoint_tells(stack: Stack) -> None:
    namespace, endpoint = "exact", "known"
    replicas = [Replica(stack, endpoint, f"known-{n}", namespace).start() for n in range(2)]
    expected: dict[str, Counter[str]] = {replica.replica_id: Counter() for replica in replicas}

    def send(work: tuple[Replica, str]) -> tuple[Replica, int]:
        replica, path = work
        return replica, replica.get(path)

    paths = (
        ["/status/200"] * 40 + ["/status/404"] * 7 + ["/status/503"] * 5 + ["/status/301"] * 3 + ["/stream/3"] * 6
        + ["/boom"] * 2 + [f"/sleep/{0.05 + 0.01 * n:.2f}" for n in range(20)]
    )  # fmt: skip
    work = [(replicas[number % 2], path) for number, path in enumerate(paths)]
    with ThreadPoolExecutor(16) as threads:
        for replica, status in threads.map(send, work):
            expected[replica.replica_id][str(status)] += 1
    assert expected["known-0"]["500"] + expected["known-1"]["500"] == 2

    first = replicas[0]
    for _ in range(3):  # gone while pending
        connection = first.begin("/sleep/0.5")
        time.sleep(0.1)
        hang_up(connection)
    for _ in range(2):  # gone while the answer streams
        connection = first.begin("/stream/200")
        assert connection.recv(10)
        hang_up(connection)
        expected["known-0"]["200"] += 1
    with first.begin("/boom-streaming") as connection:  # cut off by the server
        while connection.recv(4096):
            pass
        expected["known-0"]["200"] += 1
    with first.begin("/echo", "POST", b"x" * 300_000) as connection:
        while connection.recv(65536):
            pass
        expected["known-0"]["200"] += 1

    stored_exactly(stack, namespace, *replicas)
    requests = eventually(
        lambda: stack.counted(endpoint, "http_requests_total", namespace),
        lambda samples: sum(samples.values()) == sum(sum(c.values()) for c in expected.values()),
        10,
        "the endpoint's counters",
    )
    assert requests == {
        (replica, status): count for replica, counts in expected.items() for status, count in counts.items()
    }
    aborted = stack.samples(endpoint, "aborted_requests_total", namespace)
    assert aborted == {
        ("known-0", "pending"): 3,
        ("known-0", "streaming"): 3,
        ("known-1", "pending"): 0,
        ("known-1", "streaming"): 0,
    }

    # To the stopwatch, a response that its client did not wait for looks like any other.
    true_us = sorted(us for replica in replicas for us in replica.latencies_us(without_path="/sleep/0.5"))
    finished = stack.samples(endpoint, "latency_distribution_count", namespace)[()]
    assert finished == len(true_us)
    for (quantile,), seconds in stack.samples(endpoint, "latency_distribution", namespace).items():
        true = exact_quantile(true_us, float(quantile))
        # The stopwatch is outside the middleware, so it measures a few microseconds more.
        assert abs(seconds - true) <= 0.01 * true + 500e-6, quantile
    total = stack.samples(endpoint, "latency_distribution_sum", namespace)[()]
    assert total == pytest.approx(sum(true_us) / 1e6, abs=(0.01 * sum(true_us) + 500 * len(true_us)) / 1e6)

    states = stack.samples(endpoint, "replica_state", namespace)
    assert {key for key, value in states.items() if value} == {("known-0", "running"), ("known-1", "running")}
    assert stack.samples(endpoint, "running_replicas", namespace) == {(): 2}
    replicas[1].child.stop()
    eventually(
        lambda: stack.samples(endpoint, "replica_state", namespace).get(("known-1", "terminated")),
        lambda value: value == 1,
        10,
        "the stopped replica's state",
    )
    assert stack.samples(endpoint, "running_replicas", namespace) == {(): 1}
    reported = [state for (state,) in stack.rows("SELECT state FROM replica_timeline WHERE replica_id = 'known-1'"
                                             " ORDER BY entered_at")]  # fmt: skip
    assert reported == ["initializing", "running", "draining", "terminated"]
    first.child.stop()


def test_requests_that_hang_are_seen_and_go_again(stack: Stack) -> None:
    replica = Replica(stack, "hanging", "hanging-0", "hang").start()
    connections = [replica.begin("/hang") for _ in range(4)] + [
        replica.begin("/hang-streaming") for _ in range(3)
    ]

    def levels() -> tuple[float, ...]:
        names = ("pending_requests", "streaming_requests", "active_requests")
        return tuple(stack.samples("hanging", name, "hang").get(("hanging-0",), 0) for name in names)

    eventually(levels, lambda seen: seen == (4, 3, 7), 10, "pending, streaming, active")
    age = eventually(
        lambda: stack.samples("hanging", "oldest_pending_request_age_seconds", "hang")[("hanging-0",)],
        lambda seconds: seconds > 1.5,
        10,
        "the age of the oldest",
    )
    assert age < 20
    replica.release()
    for connection in connections:
        with connection:
            while connection.recv(4096):
                pass
    eventually(levels, lambda seen: seen == (0, 0, 0), 10, "the return to none")
    stored_exactly(stack, "hang", replica)
    [(most, mean)] = stack.rows(
        "SELECT max(pending_max), max(pending_mean) FROM requests_10s WHERE endpoint = 'hanging'"
    )
    assert 4 <= most <= 7, "the streaming ones were pending too, for a moment"
    assert 0 < mean <= most
    replica.child.stop()


def test_hardware_agrees_with_psutil(stack: Stack) -> None:
    replica = Replica(stack, "hardware", "hardware-0").start()
    psutil.cpu_percent()
    samples = eventually(
        lambda: stack.rows(
            "SELECT metric, mean, samples FROM hardware_10s WHERE endpoint = 'hardware'"
            " ORDER BY window_start DESC LIMIT 1 BY metric"
        ),
        lambda rows: any(metric == "cpu_percent" and count >= 6 for metric, _, count in rows),
        25,
        "a window of hardware samples",
    )
    machine_cpu = psutil.cpu_percent()
    means = {metric: mean for metric, mean, _ in samples}
    memory = psutil.virtual_memory()
    assert 0 <= means["cpu_percent"] <= 100
    # Means over some seconds; if the replica is a control group, the rest of the machine may be busier.
    if OwnCgroup().read().cpu_time is None:
        assert abs(means["cpu_percent"] - machine_cpu) < 35
    assert 0 < means["cpu_limit_cores"] <= (os.cpu_count() or 1)
    assert 0 < means["memory_used_bytes"] <= means["memory_limit_bytes"] <= memory.total
    exported = stack.samples("hardware", "cpu_usage_percent")
    assert exported.keys() == {("hardware-0",)}
    assert stack.samples("hardware", "oom_kills_total")[("hardware-0",)] == means["oom_kills"]
    replica.child.stop()


def test_a_killed_replica_takes_its_pending_requests_with_it(stack: Stack) -> None:
    replica = Replica(stack, "killed", "killed-0").start()
    connections = [replica.begin("/hang") for _ in range(5)]
    pending = lambda: stack.samples("killed", "pending_requests").get(("killed-0",))  # noqa: E731
    eventually(pending, lambda seen: seen == 5, 10, "the pending requests")
    replica.child.process.send_signal(signal.SIGKILL)
    replica.child.process.wait()
    eventually(pending, lambda seen: seen == 0, 15, "pending after the kill")
    eventually(
        lambda: stack.samples("killed", "replica_state")["killed-0", "failed"],
        bool,
        5,
        "the killed replica's state",
    )
    assert stack.samples("killed", "running_replicas") == {(): 0}
    for connection in connections:
        connection.close()


def test_both_texts_pass_the_strict_parsers(stack: Stack) -> None:
    replica = Replica(stack, "parsed", "parsed-0").start()
    assert replica.get("/status/200") == 200
    eventually(lambda: stack.samples("parsed", "cpu_usage_percent"), bool, 10, "the first sample of hardware")
    eventually(lambda: stack.counted("parsed", "http_requests_total"), bool, 20, "the first request")
    text = stack.scrape("parsed")
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"http_requests", "latency_distribution", "cpu_usage_percent", "replica_state"} <= names
    classic = stack.scrape("parsed", accept="text/plain")
    parsed = {family.name for family in parse_text(classic)}
    assert {"http_requests", "latency_distribution", "cpu_usage_percent", "replica_state"} <= parsed
    replica.child.stop()


def test_a_worker_that_is_killed_in_traffic_loses_and_doubles_nothing(stack: Stack) -> None:
    replica = Replica(stack, "restarted", "restarted-0", "restart").start()
    with ThreadPoolExecutor(8) as threads:

        def traffic(count: int) -> list[int]:
            return list(threads.map(lambda n: replica.get(f"/status/{200 + n % 3}"), range(count)))

        traffic(200)
        stack.worker.kill()  # no flush, no commit
        traffic(200)
        stack.worker.start()
        traffic(200)
        assert stack.worker.stop() == 0
        traffic(100)
        stack.worker.start()
        traffic(100)
    stored_exactly(stack, "restart", replica)
    [(missing, duplicates)] = stack.rows(
        "SELECT sum(missing), sum(duplicates) FROM boots FINAL WHERE namespace = 'restart'"
    )
    assert (missing, duplicates) == (0, 0)
    assert sum(stack.counted("restarted", "http_requests_total", "restart").values()) == 800
    replica.child.stop()
