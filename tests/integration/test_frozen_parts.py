"""Each part is stopped for a while, and all outlets are read before, during and after: no outlet reports a false 0.

One replica runs all the time and holds one request. So wherever a number is reported, it must be one running replica
and one pending request. The process itself is stopped (SIGSTOP), as on a machine that swaps.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import dropwhile

import pytest
from clickhouse_connect.driver.exceptions import OperationalError
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.integration.browsing import open_endpoint, signed_in
from tests.integration.replica import Replica
from tests.integration.signals import read_signals, signals_sender
from tests.support.parts import Stack
from tests.support.waiting import eventually

from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.errors import StoreError
from endpoint_analytics.schemas.signals import AutoscalingSignal

pytestmark = [pytest.mark.whole, pytest.mark.timeout(600)]

NAMESPACE, ENDPOINT, REPLICA = "still", "llm", "still-0"
ONE = f"/v2/endpoint/{NAMESPACE}/{ENDPOINT}"
EXTERNAL = (
    f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pending_requests"
    f"?labelSelector=endpoint={ENDPOINT}"
)
SIGNALS = """
SELECT running_replicas, pending_requests,
    (SELECT groupArray(state) FROM replica_signals WHERE namespace = 'still')
FROM endpoint_signals WHERE namespace = 'still'
"""
LATE_S = 14
"""Longer than an agent's heartbeat timeout, and than what it takes to say so."""


@dataclass
class ReportedValues:
    """The figures that one outlet reported over time; None where it reported that it does not know."""

    said: list[tuple[float, object]] = field(default_factory=list)

    def values(self, since: float = 0.0) -> set[object]:
        return {value for at, value in self.said if at >= since}


class Watch:
    """Reads all outlets, each in its own thread, so that one that hangs does not delay the others."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self.seen = {read.__name__: ReportedValues() for read in self._ways()}
        self.wrong: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, args=(read,), daemon=True) for read in self._ways()
        ]
        for thread in self._threads:
            thread.start()

    def _ways(self):
        return (self.open_metrics, self.list, self.series, self.autoscaling, self.external, self.sql)

    def newest(self) -> dict[str, tuple[float, object]]:
        """What each outlet reported last, and when; fails if one reported something wrong."""
        assert self.wrong == []
        return {name: seen.said[-1] if seen.said else (-1.0, None) for name, seen in self.seen.items()}

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _read(self, read) -> None:
        while not self._stop.wait(0.4):
            try:
                value = read()
            except (OSError, http.client.HTTPException, StoreError, OperationalError):
                value = None  # no answer at all
            except Exception as error:  # noqa: BLE001 - said at the end
                self.wrong.append(f"{read.__name__}: {error!r}")
                return
            self.seen[read.__name__].said.append((time.monotonic(), value))

    def _get(self, path: str, port: int = 0, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self._stack.serve_port, timeout=8)
        try:
            connection.request(
                "GET", path, headers={"Authorization": f"Bearer {self._stack.token}", **headers}
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _json(self, path: str):
        status, text = self._get(path)
        assert status in (200, 503), f"{status}: {text}"
        return json.loads(text) if status == 200 else None

    def open_metrics(self):
        status, text = self._get(f"{ONE}/open-metrics", Accept="application/openmetrics-text")
        if status == 503:
            return None
        assert status == 200, text
        found = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name in ("running_replicas", "pending_requests")
            or sample.labels.get("replica_state") == "failed"
        }
        assert found.pop("replica_state", 0) == 0, "failed"
        if "running_replicas" not in found:
            return None
        return (found["running_replicas"], found.get("pending_requests"))

    def list(self):
        answer = self._json(f"/v2/endpoint/{NAMESPACE}")
        if answer is None:
            return None
        (card,) = answer["endpoints"]
        assert (card["unknown_since"] is None) == (card["running"] is not None)
        return None if card["running"] is None else (card["running"], card["pending"])

    def series(self):
        answer = self._json(
            f"{ONE}/series?from=now-5m&series=replicas,pending,hardware&include=replicas,timeline,events"
        )
        if answer is None:
            return None
        columns = {each["name"]: each["values"] for each in answer["series"]}
        running = columns["running"]
        assert is_once_begun(running), running
        # It holds its request, and some memory, all the time: where that is not known there is a gap.
        assert is_once_begun(columns["pending_max"]), columns["pending_max"]
        assert all(value is None or value > 0 for value in columns["memory_used_bytes"])
        (replica,) = answer["replicas"]
        (bar,) = answer["timeline"]
        assert {span["state"] for span in bar["states"]} <= {"initializing", "running", "unknown"}
        assert "failed" not in {event["state"] for event in answer["events"]}
        known = replica["state"] == "running"
        assert running[-1] == (1 if known else None), running
        assert known or (replica["state"] == "unknown" and replica["unknown_since"])
        return (1, replica["pending"]) if known else None

    def autoscaling(self):
        answer = self._json(f"{ONE}/autoscaling")
        return None if answer is None else figures(answer["running_replicas"], answer["pending_requests"])

    def external(self):
        answer = self._json(EXTERNAL)
        if answer is None or not answer["items"]:
            return None
        value = answer["items"][0]["value"]
        return (1, round(float(value.removesuffix("m")) / (1000 if value.endswith("m") else 1)))

    def sql(self):
        client = connect(self._stack.config, read_timeout_s=8)
        try:
            [(running, pending, states)] = client.query(SIGNALS).result_rows
        finally:
            client.close()
        assert states in (["running"], ["unknown"]), states
        return None if running is None else figures(running, pending)


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("still"), partitions=4) as stack:
        yield stack


@pytest.fixture(scope="module")
def replica(stack) -> Replica:
    replica = Replica(stack, ENDPOINT, REPLICA, NAMESPACE).start()
    replica.begin("/hang")
    signals_sender(stack).start()
    return replica


@pytest.fixture(scope="module")
def page(stack, replica):
    with signed_in(stack) as context:
        yield context.pages[0], open_endpoint(context, stack, NAMESPACE, ENDPOINT, "timeline")


def is_once_begun(running: list[int | None]) -> bool:
    """Whether it runs from its start on, except in gaps; an unfinished step is one gap."""
    known = [value for value in running if value is not None]
    begun = list(dropwhile(lambda value: value == 0, known))
    return set(begun) <= {1}


def on_page(page) -> set[str]:
    """The replica's state on the overview page and the timeline: running, failed, unknown, or no answer."""
    entry, timeline = page
    found = set()
    if entry.locator(".banner:visible").count():
        found.add("no answer")
    else:
        found.update(
            "running" if text.split() == ["1", "running"] else "unknown" if "unknown" in text else text
            for text in entry.locator(".running").all_inner_texts()
        )
    if timeline.locator(".banner:visible").count():
        found.add("no answer")
    else:
        found.update(timeline.locator(".bar-state").all_inner_texts())
    return found


def figures(running: int, pending: float | None) -> tuple[int, int | None]:
    """A mean that started in the last seconds is close to its level."""
    return running, None if pending is None else round(pending)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


RUNS = (1, 1)
"""One replica runs, one request is pending."""


def all_run(watch: Watch, since: float, within_s: float) -> None:
    """Wait until the newest report of each outlet since then says that the replica runs."""

    def others() -> dict[str, object]:
        return {name: said for name, said in watch.newest().items() if said[1] != RUNS or said[0] < since}

    eventually(others, lambda found: not found, within_s, "all say that it runs; these do not")


PARTS = {
    "worker": lambda stack: stack.worker.pid,
    "Kafka": lambda stack: stack.kafka.pid,
    "ClickHouse": lambda stack: stack.clickhouse.pid,
    "query service": lambda stack: stack.serve.pid,
}
STILL_ANSWERING = {"query service": ("sql",)}
"""Outlets that continue: SQL does not go through the query service."""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [LATE_S, 60])
@pytest.mark.parametrize("part", PARTS)
def test_what_is_not_known_is_never_shown_as_none_or_failed(stack, replica, page, part, seconds) -> None:
    watch = Watch(stack)
    shown: list[set[str]] = []
    try:
        all_run(watch, 0, 90)
        eventually(lambda: on_page(page), lambda found: found == {"running"}, 60, "the page says so")
        begun_us = time.time_ns() // 1000
        with frozen(PARTS[part](stack)):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                shown.append(on_page(page))
                time.sleep(0.3)
            still_answering = STILL_ANSWERING.get(part, ())
            now = time.monotonic()
            eventually(
                lambda: {name for name, said in watch.newest().items() if said[1] is not None},
                lambda known: known <= set(still_answering),
                40,
                "all the others say that they do not know",
            )
            eventually(
                lambda: on_page(page),
                lambda found: found <= {"unknown", "no answer"} and found,
                40,
                "the page says that it does not know",
            )
        now = time.monotonic()
        shown.append(on_page(page))
        all_run(watch, now, 90)
        eventually(
            lambda: shown.append(on_page(page)) or shown[-1],
            lambda found: found == {"running"},
            60,
            "so does the page",
        )
    finally:
        watch.stop()
    assert watch.wrong == []
    for name, seen in watch.seen.items():
        # Where it is known that the replica runs, its requests may be unknown: they arrive on another topic.
        assert seen.values() <= {RUNS, (1, None), None}, name
    assert set().union(*shown) <= {"running", "unknown", "no answer"}
    with ThreadPoolExecutor(1) as other:  # this thread's event loop is the browser's

        def reported_since() -> list[AutoscalingSignal]:
            stored = other.submit(read_signals, stack, NAMESPACE).result()
            return [each.signal for each in stored if each.signal.at_us >= begun_us]

        reported = eventually(reported_since, bool, 30, "a signal after it")
    assert {figures(each.running_replicas, each.pending_requests) for each in reported} <= {RUNS, (1, None)}
    assert {each.silent_replicas for each in reported} == {0}


@pytest.mark.slow
def test_an_agent_that_dies_is_shown_as_failed_everywhere(stack, replica, page) -> None:
    """While the pipeline keeps up, ten seconds of silence in the Kafka log still mean a failure."""
    watch = Watch(stack)
    all_run(watch, 0, 90)
    watch.stop()
    killed = time.monotonic()
    replica.child.kill()
    eventually(
        lambda: stack.samples(ENDPOINT, "running_replicas", NAMESPACE),
        lambda found: found == {(): 0.0},
        60,
        "0 run",
    )
    print(f"\nan agent that died was failed {time.monotonic() - killed:.1f} s later")
    states = stack.samples(ENDPOINT, "replica_state", NAMESPACE)
    assert {labels for labels, value in states.items() if value} == {(REPLICA, "failed")}
    assert stack.rows("SELECT state, is_silent FROM replica_signals WHERE namespace = 'still'") == [
        ("failed", 1)
    ]
    eventually(
        lambda: on_page(page), lambda found: "failed" in found and "unknown" not in found, 30, "the page"
    )
