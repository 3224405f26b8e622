"""A real OpenTelemetry Collector between an SDK and us: by OTLP/HTTP with a token, and by its kafka exporter."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
from tests.integration.test_otlp import PACKAGES, accepted_of, start_receiver
from tests.support.judges import otel_collector, virtual_environment
from tests.support.oracle import Accepted, differences
from tests.support.parts import Stack
from tests.support.waiting import eventually, until_open

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.system.port import free_port
from endpoint_analytics.pipeline.core.boots import BootKey

pytestmark = [pytest.mark.slow, pytest.mark.whole, pytest.mark.timeout(1200)]

TOPIC = "collected_spans"
CONFIG = """
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}
exporters:
  otlphttp:
    endpoint: http://127.0.0.1:{receiver}
    headers: {{Authorization: Bearer s3cret}}
    compression: zstd
    retry_on_failure: {{initial_interval: 100ms, max_elapsed_time: 0}}
  kafka:
    brokers: ["{kafka}"]
    traces: {{topic: {topic}, encoding: otlp_proto}}
    partition_traces_by_id: true
    producer: {{compression: zstd}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlphttp, kafka]}}
"""


def test_a_collector_sends_by_http_and_by_kafka(stack: Stack, tmp_path: Path) -> None:
    program = otel_collector()
    home = virtual_environment("opentelemetry", *PACKAGES)
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    servers = stack.kafka.bootstrap_servers
    asyncio.run(ensure_topics(servers, [TopicSpec(TOPIC, 2, 3_600_000)]))
    by_http, receiver = start_receiver(
        stack, "by-http", "--namespace", "by-http", "--token-file", str(token), "--remember", "10000"
    )
    words = ["agent", "otlp", "--topic", TOPIC, "--from", "start", "--namespace", "by-kafka"]
    by_kafka = stack.child("by-kafka", *words, ready=f"ready {TOPIC}")
    by_kafka.start()
    port, config, log = free_port("127.0.0.1"), tmp_path / "collector.yaml", tmp_path / "collector.log"
    config.write_text(CONFIG.format(port=port, receiver=receiver, kafka=servers, topic=TOPIC))
    with log.open("wb") as output:
        collector = subprocess.Popen([str(program), f"--config=file:{config}"], stdout=output, stderr=output)
    try:
        until_open(port, collector, log)
        script = str(Path(__file__).with_name("otel_spans.py"))
        words = [str(home / "bin" / "python"), script, f"http://127.0.0.1:{port}", "1500", "9"]
        sent = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
        for namespace in ("by-http", "by-kafka"):
            eventually(
                lambda name=namespace: found(stack, name, sent), is_empty, 20, f"all sent is in {namespace}"
            )
    finally:
        collector.terminate()
        collector.wait(30)
    assert (by_http.stop(), by_kafka.stop()) == (0, 0)


def is_empty(differences: list[str]) -> bool:
    return not differences


def found(stack: Stack, namespace: str, sent: dict) -> list[str]:
    """Return what differs between the spans sent and what is stored; a receiver has one boot of each replica."""
    sql = """SELECT replica_id, boot_id FROM boots FINAL
        WHERE namespace = {namespace:String} AND stream = 'requests'"""
    boots = stack.rows(sql, namespace=namespace)
    accepted: dict[BootKey, Accepted] = {
        BootKey(namespace, "spans", replica, boot_id): accepted_of(sent["made"], replica)
        for replica, boot_id in boots
    }
    return ["not all replicas"] if len(accepted) < 3 else differences(stack.client, namespace, accepted)
