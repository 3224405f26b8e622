"""A server that only OpenTelemetry's own packages instrument, through the receiver and all real parts."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import random
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from tests.agents.otlp.exports import export, server_span
from tests.faults.kafka_proxy import KafkaProxy
from tests.faults.listener import Listener
from tests.pipeline.serve.api.traffic import exact_quantile
from tests.support.judges import node, node_packages, virtual_environment
from tests.support.oracle import Accepted, differences
from tests.support.parts import Child, Stack
from tests.support.waiting import eventually, until, until_open

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.pipeline.core.boots import BootKey
from endpoint_analytics.schemas.requests import Totals
from endpoint_analytics.schemas.topics import TOPIC_CONFIG

pytestmark = pytest.mark.whole

PACKAGES = (
    "opentelemetry-distro==0.66b1",
    "opentelemetry-exporter-otlp-proto-http==1.45.1",
    "opentelemetry-instrumentation-fastapi==0.66b1",
    "fastapi==0.165.0",
    "uvicorn==0.54.0",
)
NODE_PACKAGES = ("@opentelemetry/api@1.10.0", "@opentelemetry/auto-instrumentations-node@0.82.0")
STATUSES = (200, 200, 200, 201, 404, 500, 503)
REQUESTS, STREAMED, CUT = 400, 10, 3
EXPORT_SPANS = 40
"""Of otel_spans.py."""


def start_receiver(stack: Stack, name: str, *words: str, **environment: str) -> tuple[Child, int]:
    child = stack.child(
        name,
        "agent",
        "otlp",
        "--listen",
        "127.0.0.1:0",
        *words,
        ready=r"ready http://.*:(\d+)\n",
        **environment,
    )
    return child, int(child.start()[1])


@contextmanager
def instrumented(port: int, directory: Path, **attributes: str) -> Iterator[tuple[str, Path]]:
    """Serve the application; yield its address and the file where OpenTelemetry's console exporter writes all spans."""
    home, own_port = virtual_environment("opentelemetry", *PACKAGES), free_port("127.0.0.1")
    spans, log = directory / "spans", directory / "log"
    environment = {
        "PATH": os.environ["PATH"],
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=otel",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp,console",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "PYTHONPATH": str(Path(__file__).parent),
        **attributes,
    }
    python = str(home / "bin" / "python")
    words = [python, "-m", "uvicorn", "otel_app:app", "--port", str(own_port), "--log-level", "warning"]
    with spans.open("wb") as output, log.open("wb") as errors:
        server = subprocess.Popen(
            [python, str(home / "bin" / "opentelemetry-instrument"), *words],
            env=environment,
            cwd=directory,
            stdout=output,
            stderr=errors,
        )
    try:
        until_open(own_port, server, log)
        yield f"http://127.0.0.1:{own_port}", spans
    finally:
        server.terminate()
        server.wait(30)


def by_status(stack: Stack, endpoint: str) -> dict[str, float]:
    """Return what a scrape says of the endpoint's requests."""
    found = stack.counted(endpoint, "http_requests_total", "otel")
    return {status: count for (_, status), count in found.items()}


def get(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):  # the server cut it
        return 0


def server_spans(path: Path) -> list[dict]:
    found = []
    for text in path.read_text().split("\n}\n")[:-1]:
        span = json.loads(f"{text}}}")
        if span["kind"] == "SpanKind.SERVER" and "health" not in span["name"]:
            found.append(span)
    return found


def attribute(span: dict, *names: str) -> Any:
    """Return the first of the attributes that the span has: the conventions gave them new names."""
    return next(span["attributes"][name] for name in names if name in span["attributes"])


def status_of(span: dict) -> str:
    return str(attribute(span, "http.status_code", "http.response.status_code"))


def is_cut(span: dict) -> bool:
    return "cut=true" in str(span["attributes"])


def replica_of(spans: list[dict]) -> str:
    (replica,) = {span["resource"]["attributes"]["service.instance.id"] for span in spans}
    return replica


def duration_us(span: dict) -> int:
    start, end = (datetime.fromisoformat(span[name]) for name in ("start_time", "end_time"))
    return round((end - start).total_seconds() * 1e6)


@pytest.mark.parametrize(
    "conventions", [pytest.param("", marks=pytest.mark.slow, id="old"), pytest.param("http", id="stable")]
)
def test_counts_and_quantiles_are_those_of_the_spans(stack: Stack, tmp_path: Path, conventions: str) -> None:
    chance, name = random.Random(5), f"shop-{conventions or 'old'}"
    receiver, port = start_receiver(stack, name, "--exclude-paths", "/health")
    environment = {"OTEL_SERVICE_NAME": name, "OTEL_SEMCONV_STABILITY_OPT_IN": conventions}
    with instrumented(port, tmp_path, **environment) as (url, path):
        waits_s = [chance.expovariate(20) for _ in range(REQUESTS)]
        targets = [f"{url}/answer/{chance.choice(STATUSES)}?wait_s={wait_s:.4f}" for wait_s in waits_s]
        targets += [f"{url}/health"] * 20 + [f"{url}/stream"] * STREAMED + [f"{url}/stream?cut=true"] * CUT
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(get, targets))
        number = REQUESTS + STREAMED + CUT
        spans = eventually(
            lambda: server_spans(path), lambda found: len(found) >= number, 20, "the SDK's spans"
        )
        sql = """SELECT sum(arrived), sum(finished), sum(aborted_streaming), sum(aborted_pending)
            FROM boots FINAL WHERE namespace = 'otel' AND endpoint = {endpoint:String}"""
        counts = eventually(
            lambda: stack.rows(sql, endpoint=name)[0], lambda row: row[0] >= number, 20, "all are stored"
        )
        assert counts == (number, REQUESTS + STREAMED, CUT, 0)
        assert until(lambda: shown(stack, name, "otel"), 20, "its state") == {replica_of(spans): "running"}
    statuses = Counter(status_of(span) for span in spans)
    assert by_status(stack, name) == statuses
    whole = [duration_us(span) for span in spans if not is_cut(span)]
    for quantile in (0.5, 0.9, 0.99):
        found_s = stack.samples(name, "latency_distribution", "otel")[str(quantile),]
        assert found_s == pytest.approx(exact_quantile(whole, quantile), rel=0.01)
    sql = """SELECT sum(latency_sum_us), sum(ttfb_sum_us) FROM boots FINAL
        WHERE namespace = 'otel' AND endpoint = {endpoint:String}"""
    ((latency_us, ttfb_us),) = stack.rows(sql, endpoint=name)
    assert latency_us == pytest.approx(sum(whole), abs=2 * len(spans))
    # Streams last 0.3 s longer than the time to their first byte, which a child of the server span tells.
    assert latency_us - ttfb_us > STREAMED * 250_000
    assert receiver.stop() == 0
    assert "rejected" not in receiver.log.read_text()


@pytest.mark.slow
@pytest.mark.judge
def test_a_server_in_node_with_its_defaults(stack: Stack, tmp_path: Path) -> None:
    """Its exporter sends protobuf, its resource has host.name and service.instance.id; only the names are set."""
    home = node_packages("opentelemetry", *NODE_PACKAGES)
    receiver, port = start_receiver(stack, "node")
    own_port, log = free_port("127.0.0.1"), tmp_path / "log"
    environment = {
        "PATH": os.environ["PATH"],
        "OTEL_SERVICE_NAME": "node",
        "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=otel",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    register = "@opentelemetry/auto-instrumentations-node/register"
    words = [
        str(node()),
        "--require",
        register,
        str(Path(__file__).with_name("otel_server.cjs")),
        str(own_port),
    ]
    with log.open("wb") as output:
        server = subprocess.Popen(words, env=environment, cwd=home, stdout=output, stderr=output)
    try:
        until_open(own_port, server, log)
        chance = random.Random(2)
        statuses = [chance.choice(STATUSES) for _ in range(300)]
        urls = [f"http://127.0.0.1:{own_port}/answer/{status}" for status in statuses]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(get, urls)) == statuses
        expected = Counter(map(str, statuses))
        eventually(lambda: by_status(stack, "node"), lambda found: found == expected, 20, "all are counted")
    finally:
        server.kill()
        server.wait(30)
    assert receiver.stop() == 0


class Losing(Listener):
    """Passes requests on, and loses every third answer, whose sender cannot know what became of its request."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.lost = 0
        self._upstream = port
        self._served = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"(?i)content-length: (\d+)", head)
        body = await reader.readexactly(int(length))
        answers, upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
        upstream.write(head.replace(b"keep-alive", b"close") + body)
        answer = await answers.read()
        upstream.close()
        self._served += 1
        if self._served % 3:
            writer.write(answer)
            await writer.drain()
        else:
            self.lost += 1
        writer.close()


def test_each_span_counts_once_through_lost_answers_and_a_lost_kafka(stack: Stack) -> None:
    home = virtual_environment("opentelemetry", *PACKAGES)
    with KafkaProxy(stack.kafka.bootstrap_servers) as kafka:
        receiver, port = start_receiver(stack, "oracle", ENDPOINT_ANALYTICS_KAFKA=kafka.bootstrap_servers)
        with Losing(port) as losing:
            words = [str(home / "bin" / "python"), str(Path(__file__).with_name("otel_spans.py"))]
            words += [f"http://127.0.0.1:{losing.port}", "3000", "7"]
            sender = subprocess.Popen(words, stdout=subprocess.PIPE)
            try:
                for cuts in range(3):
                    until(
                        lambda cuts=cuts: losing.lost > 4 * cuts or sender.poll() is not None,
                        30,
                        "more exports",
                    )
                    kafka.shut()
                    until(
                        lambda: unconfirmed(port) or sender.poll() is not None, 30, "an export without Kafka"
                    )
                    kafka.open()
                printed, _ = sender.communicate(timeout=180)
            finally:
                sender.kill()
        sent = json.loads(printed)
        spans = status(port)
        assert receiver.stop() == 0
    assert losing.lost > 10
    assert (spans["spans"]["accepted"], spans["rejected"]) == (3000, {})
    assert spans["spans"]["repeated"] >= 40 * 10
    boots = stack.rows(
        "SELECT replica_id, boot_id FROM boots FINAL WHERE namespace = 'oracle-7' AND stream = 'requests'"
    )
    assert {replica for replica, _ in boots} == {"a", "b", "c"}
    accepted = {
        BootKey("oracle-7", "spans", replica, boot_id): accepted_of(sent["made"], replica)
        for replica, boot_id in boots
    }
    eventually(
        lambda: differences(stack.client, "oracle-7", accepted), lambda found: not found, 20, "sent is stored"
    )
    states = "SELECT replica_id, argMax(state, at) FROM replica_events WHERE namespace = 'oracle-7' GROUP BY replica_id"
    found = eventually(
        lambda: dict(stack.rows(states)), lambda all_: "running" not in all_.values(), 20, "their end"
    )
    assert found == dict.fromkeys("abc", "terminated")


@pytest.mark.slow
def test_a_killed_receiver_loses_nothing_and_doubles_at_most_what_it_was_answering(stack: Stack) -> None:
    home = virtual_environment("opentelemetry", *PACKAGES)
    port = free_port("127.0.0.1")
    receiver = stack.child(
        "killed", "agent", "otlp", "--listen", f"127.0.0.1:{port}", ready="otlp receiver ready"
    )
    receiver.start()
    words = [str(home / "bin" / "python"), str(Path(__file__).with_name("otel_spans.py"))]
    sender = subprocess.Popen([*words, f"http://127.0.0.1:{port}", "3000", "10"], stdout=subprocess.PIPE)
    kills = 0
    try:
        for _ in range(3):
            until(
                lambda: status(port)["spans"].get("accepted", 0) > 300 or sender.poll() is not None,
                30,
                "some spans",
            )
            kills += sender.poll() is None
            receiver.kill()
            receiver.start()
        printed, _ = sender.communicate(timeout=180)
    finally:
        sender.kill()
    assert receiver.stop() == 0
    assert kills >= 2
    sql = "SELECT sum(arrived) FROM boots FINAL WHERE namespace = 'oracle-10' AND stream = 'requests'"
    sent = len(json.loads(printed)["made"])
    arrived = eventually(lambda: stack.rows(sql)[0][0], lambda number: number >= sent, 20, "nothing is lost")
    assert arrived <= sent + kills * EXPORT_SPANS


def test_receivers_add_up_and_the_end_of_one_is_not_that_of_the_replica(stack: Stack) -> None:
    names = {"service.namespace": "balanced", "service.name": "one", "service.instance.id": "r"}
    receivers = [start_receiver(stack, f"balanced-{number}") for number in range(2)]

    send(receivers[0][1], names, range(1, 11))
    send(receivers[1][1], names, range(11, 41))
    assert receivers[0][0].stop() == 0
    sql = """SELECT count(), sum(arrived), sum(missing) FROM boots FINAL
        WHERE namespace = 'balanced' AND stream = 'requests'"""
    eventually(lambda: stack.rows(sql)[0], lambda row: row == (2, 40, 0), 20, "both are counted")
    states = """SELECT state, count() FROM replica_events FINAL WHERE namespace = 'balanced'
        GROUP BY state ORDER BY state"""
    eventually(
        lambda: stack.rows(states), lambda rows: rows == [("running", 2), ("terminated", 1)], 20, "its states"
    )
    assert shown(stack, "one", "balanced") == {"r": "running"}
    assert receivers[1][0].stop() == 0
    eventually(
        lambda: shown(stack, "one", "balanced"), lambda found: found == {"r": "terminated"}, 20, "its end"
    )


def send(port: int, names: dict[str, str], numbers: range) -> None:
    """Export spans that have just ended; fail unless all are accepted."""
    now_us = time.time_ns() // 1_000
    spans = [server_span(number, end_us=now_us - 1_000 + number) for number in numbers]
    body = export(*spans, names=names).SerializeToString()
    headers = {"Content-Type": "application/x-protobuf"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/traces", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert (answer.status, answer.read()) == (200, b"")


def test_states_that_kafka_refuses_delay_no_request(stack: Stack) -> None:
    """There is no topic for them."""
    topic = TopicSpec("half.requests", 1, 3_600_000, config=TOPIC_CONFIG)
    asyncio.run(ensure_topics(stack.kafka.bootstrap_servers, [topic]))
    receiver, port = start_receiver(stack, "half", "--topic-prefix", "half", "--timeout", "0.5")
    names = {"service.namespace": "half", "service.name": "one", "service.instance.id": "r"}
    send(port, names, range(1, 3))
    send(port, names, range(3, 5))
    assert receiver.stop() == 0


def shown(stack: Stack, endpoint: str, namespace: str) -> dict[str, str]:
    """Return the state in which each replica is shown."""
    found = stack.samples(endpoint, "replica_state", namespace)
    return {replica: state for (replica, state), value in found.items() if value}


def test_a_topic_is_read_once_while_readers_come_and_go(stack: Stack) -> None:
    home = virtual_environment("opentelemetry", *PACKAGES)
    words = [str(home / "bin" / "python"), str(Path(__file__).with_name("otel_spans.py")), "-", "3000", "8"]
    sent = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    exports = [base64.b64decode(each) for each in sent["exports"]]
    servers = stack.kafka.bootstrap_servers
    asyncio.run(ensure_topics(servers, [TopicSpec("otlp_spans", 4, 3_600_000)]))
    asyncio.run(produce(servers, [b"not a protobuf message", *exports[:30]]))
    words = ["agent", "otlp", "--topic", "otlp_spans", "--from", "start"]
    readers = [stack.child(f"topic-{number}", *words, ready="ready otlp_spans") for number in range(3)]
    readers[0].start()
    sql = """SELECT sum(arrived), sum(finished), sum(aborted_pending), sum(aborted_streaming), sum(latency_sum_us)
        FROM boots FINAL WHERE namespace = 'oracle-8' AND stream = 'requests'"""
    until(lambda: stack.rows(sql)[0][0] > 200, 30, "the first reader reads")
    readers[1].start()
    asyncio.run(produce(servers, exports[30:50]))
    readers[2].start()
    assert readers[0].stop() == 0
    asyncio.run(produce(servers, exports[50:]))
    expected = [accepted_of(sent["made"], replica).totals for replica in "abc"]
    due = tuple(
        sum(getattr(totals, name) for totals in expected)
        for name in ("arrived", "finished", "aborted_pending", "aborted_streaming", "duration_us")
    )
    eventually(lambda: stack.rows(sql)[0], lambda row: row[0] >= due[0], 30, "everything is counted")
    assert [reader.stop() for reader in readers[1:]] == [0, 0]
    assert stack.rows(sql)[0] == due
    assert sum("exports cannot be used" in reader.log.read_text() for reader in readers) >= 1


async def produce(servers: str, messages: list[bytes]) -> None:
    """Write to the topic, compressed as a Collector does with `compression: zstd`."""
    async with AIOKafkaProducer(bootstrap_servers=servers, compression_type="zstd") as producer:
        for message in messages:
            await producer.send_and_wait("otlp_spans", message)


def status(port: int) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as answer:
        return json.load(answer)


def unconfirmed(port: int) -> int:
    return status(port)["waiting"]


def accepted_of(made: list, replica: str) -> Accepted:
    """Return what a replica's spans add up to."""
    mine = [each for each in made if each[0] == replica]
    phases = Counter(phase for _, phase, *_ in mine)
    windows: Counter[tuple[int, str]] = Counter()
    for _, phase, _, end_us, duration_us in mine:
        windows[(end_us - duration_us) // 10_000_000 * 10, "arrived"] += 1
        windows[end_us // 10_000_000 * 10, phase] += 1
    totals = Totals(
        arrived=len(mine),
        finished=phases["finished"],
        aborted_pending=phases["aborted_pending"],
        aborted_streaming=phases["aborted_streaming"],
        status=dict(Counter(str(status) for _, _, status, *_ in mine if status is not None)),
        wait_us=sum(each[4] for each in mine if each[2] is not None),
        duration_us=sum(each[4] for each in mine if each[1] == "finished"),
    )
    return Accepted(totals, windows=windows)
