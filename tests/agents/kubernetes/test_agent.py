"""The command on a real Kafka, against an API server of the tests': what is sent, what is read back, how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer
from tests.agents.kubernetes.api_server import ApiServer
from tests.agents.kubernetes.pods import ScriptedPod
from tests.support.parts import Child
from tests.support.waiting import eventually

from endpoint_analytics.agents.core.config import KafkaConfig
from endpoint_analytics.agents.delivery.outage import Outage
from endpoint_analytics.agents.delivery.producer import Producer
from endpoint_analytics.agents.kubernetes import read_back as module
from endpoint_analytics.agents.kubernetes.naming import NamedReplica
from endpoint_analytics.agents.kubernetes.origin_header import HEADER, Origin
from endpoint_analytics.agents.kubernetes.read_back import read_back
from endpoint_analytics.agents.kubernetes.reported import AGAIN_US
from endpoint_analytics.agents.kubernetes.send_queue import SendQueue
from endpoint_analytics.infra.command import main
from endpoint_analytics.schemas.codec import decode_replicas
from endpoint_analytics.schemas.replicas import ReplicaState
from endpoint_analytics.schemas.topics import REPLICAS

BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as started:
        yield started


@pytest.fixture
def start(kafka_config: KafkaConfig, server: ApiServer, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start(*options: str, kafka: str = kafka_config.bootstrap_servers, selector: str = "app=llm") -> Child:
        words = [sys.executable, "-m", "endpoint_analytics.infra.command", "agent", "kubernetes", *options]
        words += [
            "--selector",
            selector,
            "--kubeconfig",
            str(server.kubeconfig(tmp_path)),
            "--endpoint",
            "llm",
        ]
        environment = os.environ | {
            "ENDPOINT_ANALYTICS_KAFKA": kafka,
            "ENDPOINT_ANALYTICS_TOPIC_PREFIX": kafka_config.topic_prefix,
        }
        child = Child(
            words, environment, tmp_path / "agent.log", r"kubernetes agent ready: (\d+) pods of models"
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()


def serving(name: str, **options) -> ScriptedPod:
    pod = ScriptedPod(name, BEGIN, **options)
    pod.scheduled(1)
    pod.taken_on(2)
    pod.runs(30)
    pod.ready(50)
    return pod


def sent(kafka: KafkaConfig) -> list[tuple[bytes, ReplicaState, bytes]]:
    """Return all messages on the topic, except repeated reports of lasting states: key, message, origin."""

    async def read():
        consumer = AIOKafkaConsumer(
            REPLICAS.name(kafka.topic_prefix),
            bootstrap_servers=kafka.bootstrap_servers,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            ends = await consumer.end_offsets(consumer.assignment())
            records = []
            while sum(ends.values()) > len(records):
                for found in (await consumer.getmany(timeout_ms=200)).values():
                    records += found
        finally:
            await consumer.stop()
        found = [(each.key, decode_replicas(each.value), dict(each.headers)[HEADER]) for each in records]
        return [each for each in found if each[1].at_us % AGAIN_US or each[1].state == "pending"]

    return asyncio.run(read())


def states(kafka: KafkaConfig) -> list[tuple[str, str]]:
    return [
        (message.replica_id, message.state)
        for _, message, _ in sent(kafka)
        if isinstance(message, ReplicaState)
    ]


START = ["pending", "pulling", "initializing", "running"]


def test_states_reach_the_topic_under_the_replicas_key(kafka_config, server, start):
    server.apply("pods", serving("llm-1").json)
    agent = start()
    assert agent.start()[1] == "1"
    found = eventually(lambda: sent(kafka_config), lambda found: len(found) >= 4, 30, "the states")
    assert [message.state for _, message, _ in found[:4]] == START
    assert {key for key, _, _ in found} == {b"models/llm/llm-1"}  # the owner is the Kubernetes namespace
    assert {origin for _, _, origin in found} == {b"/models/llm-1"}
    assert agent.stop() == 0


def test_a_restart_reports_nothing_twice_and_ends_what_is_gone(kafka_config, server, start):
    for name in ("llm-1", "llm-2"):
        server.apply("pods", serving(name).json)
    other = serving("llm-3", labels={"track": "canary"})
    server.apply("pods", other.json)
    first = start()
    first.start()
    before = eventually(lambda: states(kafka_config), lambda found: len(found) >= 12, 30, "the states")
    first.kill()
    server.delete("pods", "llm-2")
    # Another selector now: llm-3 is not listed, and is not gone either.
    del other.json["metadata"]["labels"]["track"]
    second = start(selector="app=llm,pod-template-hash=7d9fc5b8")
    other.json["metadata"]["labels"]["pod-template-hash"] = "another"
    server.apply("pods", other.json)
    second.start()
    after = eventually(lambda: states(kafka_config), lambda found: len(found) > len(before), 30, "the end")
    assert after[len(before) :] == [("llm-2", "terminated")]
    assert second.stop() == 0
    assert states(kafka_config) == after


def test_a_pod_of_the_same_name_is_another_replica_where_the_uid_names_it(kafka_config, server, start):
    before, after = serving("llm-0"), serving("llm-0")
    server.apply("pods", before.json)
    first = start("--replica-from", "uid")
    first.start()
    found_states = eventually(lambda: states(kafka_config), lambda found: len(found) >= 4, 30, "the states")
    first.kill()
    server.delete("pods", "llm-0")
    server.apply("pods", after.json)
    second = start("--replica-from", "uid")
    second.start()
    ended = (before.json["metadata"]["uid"], "terminated")
    eventually(lambda: states(kafka_config)[len(found_states) :], lambda found: ended in found, 30, "the end")


def test_what_was_reported_is_read_back(kafka_config, server, start):
    server.apply("pods", serving("llm-1").json)
    agent = start()
    agent.start()
    eventually(lambda: states(kafka_config), lambda found: len(found) >= 4, 30, "the states")
    agent.stop()
    found = asyncio.run(read_back(kafka_config, None, "models", Origin("", "models")))
    assert found.living() == {NamedReplica("llm", "llm-1"): "llm-1"}
    assert asyncio.run(read_back(kafka_config, None, "models", Origin("eu", "models"))).living() == {}
    assert asyncio.run(read_back(kafka_config, None, "other", Origin("", "models"))).living() == {}


def test_a_topic_that_is_not_there_is_gone_without(kafka_config, caplog, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_WITHIN_MS", 1000)
    config = KafkaConfig(bootstrap_servers=kafka_config.bootstrap_servers, topic_prefix="nobody-made-it")
    assert asyncio.run(read_back(config, None, "models", Origin("", "models"))).replicas == {}
    assert "nobody-made-it.replicas does not exist or may not be read" in caplog.text


def test_what_waits_for_kafka_is_bounded_and_the_oldest_goes(kafka_config):
    outgoing = SendQueue("t", lambda: Producer(kafka_config, None, Outage("nowhere")), max_waiting=3)
    for number in range(5):
        at_us = 1_795_168_800_000_000 + number
        state = ReplicaState(namespace="n", endpoint="e", replica_id="r", at_us=at_us, state="running")
        outgoing.put(state, b"/n/r")
    outgoing.put(msgspec.structs.replace(state, at_us=5), b"/n/r")  # before 2001: the worker would refuse it
    assert outgoing.lost == 3


def test_an_agent_that_waits_for_kafka_ends_on_a_signal(start):
    agent = start(kafka="127.0.0.1:1")
    with agent.log.open("ab") as log:
        agent.process = subprocess.Popen(agent.words, env=dict(agent.environment), stderr=log)
    eventually(agent.log.read_text, lambda text: "does not accept messages" in text, 30, "the complaint")
    began = time.monotonic()
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(30) == 0
    assert time.monotonic() - began < 9  # not the wait for Kafka at the end, which has nothing to take


@pytest.mark.parametrize(("options", "message"), [
    ([], "exactly one of --endpoint and --endpoint-label is required"),
    (["--endpoint", "llm"], "--endpoint requires --selector"),
    (["--endpoint", "llm", "--endpoint-label", "e"], "exactly one of"),
    (["--endpoint-label", "e", "--selector", "a b"], "--selector is 'a b'"),
    (["--endpoint-label", "e", "--kubeconfig", "/no/such"], "there is no /no/such"),
    (["--endpoint-label", "e", "--kubernetes-namespace", "a/b", "--kubeconfig", "KUBECONFIG"], "namespace is 'a/b'"),
])  # fmt: skip
def test_options_that_cannot_work_are_reported(options, message, capsys, server, tmp_path):
    words = [str(server.kubeconfig(tmp_path)) if word == "KUBECONFIG" else word for word in options]
    assert main(["agent", "kubernetes", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_watch_without_length_is_a_usage_error(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["agent", "kubernetes", "--endpoint-label", "e", "--watch-seconds", "0"])
    assert "--watch-seconds: '0': expected a number from 1 to 3600" in capsys.readouterr().err
