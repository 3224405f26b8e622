"""The worker as a process on a real Kafka: its HTTP endpoints, and how it stops."""

from __future__ import annotations

import asyncio
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.support.parts import Stack
from tests.support.waiting import eventually

from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.schemas.codec import encode
from endpoint_analytics.schemas.rejected import Rejected
from endpoint_analytics.schemas.requests import Arrived, RequestBatch

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("worker"), partitions=2) as running:
        yield running


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def send(stack: Stack, topic: str, *values: bytes) -> None:
    async def main() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap_servers, enable_idempotence=True)
        await producer.start()
        for value in values:
            await producer.send_and_wait(f"endpoint-analytics.{topic}", value, key=b"one")
        await producer.stop()

    asyncio.run(main())


def batch(seq: int, arrived: int = 1, replica: str = "r") -> bytes:
    now_us = time.time_ns() // 1000
    return encode(
        RequestBatch(
            namespace="worker",
            endpoint="e",
            replica_id=replica,
            boot_id="b",
            seq=seq,
            start_us=now_us - 1_000_000,
            end_us=now_us,
            pending=seq,
            streaming=0,
            arrived=Arrived([1] * arrived),
        )
    )


def test_readiness_follows_clickhouse(stack: Stack) -> None:
    port = free_port("127.0.0.1")
    assert stack.worker.stop() == 0
    watched = stack.child(
        "watched", "worker", "--instance-id", "worker-1", "--health-port", str(port), ready="worker ready"
    )
    watched.start()
    eventually(lambda: ask(port, "/ready"), lambda answer: answer == (200, "ready\n"), 30, "readiness")
    send(stack, "requests", batch(0))
    eventually(
        lambda: stack.rows("SELECT sum(arrived) FROM boots FINAL"), lambda rows: rows == [(1,)], 20, "the row"
    )
    stack.clickhouse.kill()
    send(stack, "requests", batch(1), batch(2))
    _, text = eventually(lambda: ask(port, "/ready"), lambda answer: answer[0] == 503, 30, "no readiness")
    assert text.startswith("rows cannot be stored: no ClickHouse answers at")
    assert ask(port, "/health") == (200, "alive\n")
    stack.clickhouse.port = int(stack.clickhouse.url.rsplit(":", 1)[1])
    stack.clickhouse.start()
    eventually(lambda: ask(port, "/ready"), lambda answer: answer == (200, "ready\n"), 30, "readiness again")
    eventually(
        lambda: stack.rows("SELECT sum(arrived) FROM boots FINAL"),
        lambda rows: rows == [(3,)],
        20,
        "all rows",
    )
    families = {family.name: family for family in text_string_to_metric_families(ask(port, "/metrics")[1])}
    messages = {sample.labels["stream"]: sample.value for sample in families["worker_messages"].samples}
    assert messages["requests"] == 3
    assert watched.stop() == 0
    stack.worker.start()


def test_a_worker_that_clickhouse_does_not_let_in_takes_no_partition(stack: Stack) -> None:
    """Other workers read them: one with a wrong password does not harm a running pipeline."""

    port = free_port("127.0.0.1")
    stranger = stack.child(
        "stranger", "worker", "--health-port", str(port), ready="never",
        ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD="wrong",
    )  # fmt: skip
    with stranger.log.open("wb") as log:
        process = subprocess.Popen(stranger.words, env=stranger.environment, stdout=log, stderr=log)
    try:
        status, _ = eventually(
            lambda: ask(port, "/ready"),
            lambda answer: "refuses the user or the password" in answer[1],
            30,
            "its reason",
        )
        assert status == 503
        status, text = ask(port, "/metrics")
        assert status == 200
        assert "worker_assigned_partitions 0" in text
        before = stack.rows("SELECT sum(arrived) FROM boots FINAL WHERE replica_id = 'r2'")
        send(stack, "requests", batch(0, replica="r2"))
        eventually(
            lambda: stack.rows("SELECT sum(arrived) FROM boots FINAL WHERE replica_id = 'r2'"),
            lambda rows: rows != before,
            20,
            "a row, by the other worker",
        )
        assert members(stack) == 1
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
    said = stranger.log.read_text()
    assert "worker ready" not in said
    assert said.count("refuses the user or the password") == 1


def members(stack: Stack) -> int:
    async def ask_kafka() -> int:
        client = AIOKafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap_servers)
        await client.start()
        try:
            [answer] = await client.describe_consumer_groups(["endpoint-analytics"])
            return len(answer.to_object()["groups"][0]["members"])
        finally:
            await client.close()

    return asyncio.run(ask_kafka())


def test_headers_without_a_value_harm_nobody(stack: Stack) -> None:
    """Any client may send them."""

    async def send_odd() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap_servers) as producer:
            headers = [("trace", None), ("", b"")]
            topic = "endpoint-analytics.requests"
            await producer.send_and_wait(topic, batch(0, replica="odd"), key=None, headers=headers)

    asyncio.run(send_odd())
    eventually(
        lambda: stack.rows("SELECT sum(arrived) FROM boots FINAL WHERE replica_id = 'odd'"),
        lambda rows: rows == [(1,)],
        20,
        "its row",
    )


def test_a_rejected_message_is_sent_on_with_its_source(stack: Stack) -> None:
    send(stack, "requests", b"{broken", batch(3))

    async def read() -> Rejected:
        consumer = AIOKafkaConsumer(
            "endpoint-analytics.rejected",
            bootstrap_servers=stack.kafka.bootstrap_servers,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            import msgspec

            message = await asyncio.wait_for(consumer.getone(), 30)
            return msgspec.json.decode(message.value, type=Rejected)
        finally:
            await consumer.stop()

    rejected = asyncio.run(read())
    assert (rejected.topic, rejected.reason, rejected.value) == (
        "endpoint-analytics.requests",
        "not_json",
        b"{broken",
    )
    [(partition, offset)] = eventually(
        lambda: stack.rows("SELECT partition, offset FROM rejected FINAL"), bool, 20, "the row"
    )
    assert (rejected.partition, rejected.offset) == (partition, offset)


def test_a_partition_of_nonsense_is_paused_and_says_why(stack: Stack) -> None:
    send(stack, "hardware", *[b"{}"] * 2100)
    paused = "SELECT count() FROM paused_partitions FINAL WHERE stream = 'hardware' AND paused = 1"
    eventually(lambda: stack.rows(paused), lambda rows: rows == [(1,)], 60, "the pause")
    assert "endpoint-analytics partitions resume hardware" in stack.worker.log.read_text()
    assert stack.worker.process.poll() is None


def test_a_flag_that_is_wrong_is_told(stack: Stack) -> None:
    child = stack.child("wrong", "worker", "--clickhouse-url", "ftp://nowhere", ready="worker ready")
    with pytest.raises(AssertionError, match="ftp://nowhere"):
        child.start()
    assert child.process.wait(10) == 2
