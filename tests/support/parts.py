"""The real parts for end-to-end tests: Kafka, ClickHouse, worker, query service, each a separate process."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.pipeline.store.tokens import create_token
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.topics import TOPIC_CONFIG, TOPICS

ROOT = Path(__file__).parents[2]


def kafka_environment(config: KafkaConfig) -> dict[str, str]:
    """Return the environment variables with which our processes reach Kafka."""
    found = {
        "KAFKA": config.bootstrap_servers,
        "TOPIC_PREFIX": config.topic_prefix,
        "KAFKA_SECURITY_PROTOCOL": config.security_protocol.lower(),
        "KAFKA_SASL_MECHANISM": config.sasl_mechanism.lower(),
        "KAFKA_USERNAME": config.username,
        "KAFKA_PASSWORD": config.password,
        "KAFKA_CA_FILE": config.ca_file,
        "KAFKA_CERTIFICATE_FILE": config.certificate_file,
        "KAFKA_KEY_FILE": config.key_file,
        "KAFKA_KEY_PASSWORD": config.key_password,
        "KAFKA_CHECK_HOSTNAME": "" if config.check_hostname else "off",
    }
    return {f"ENDPOINT_ANALYTICS_{name}": value for name, value in found.items() if value}


@dataclass
class Child:
    """One of our processes, which prints one line when it is ready."""

    words: list[str]
    environment: Mapping[str, str]
    log: Path
    ready: str
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, within_s: float = 60) -> re.Match[str]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.words, env=dict(self.environment), stdout=subprocess.PIPE, stderr=log, cwd=ROOT
            )
        printed, end = b"", time.monotonic() + within_s
        output = self.process.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while time.monotonic() < end:
                if selector.select(0.5):
                    piece = os.read(output.fileno(), 4096)
                    printed += piece
                    if match := re.search(self.ready, printed.decode()):
                        return match
                    if not piece:
                        break
        self.kill()
        raise AssertionError(
            f"{self.words}: not ready; printed {printed!r}; log:\n{self.log.read_text()[-3000:]}"
        )

    @property
    def pid(self) -> int:
        return self._running().pid

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "it was not started"
        return self.process

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self, within_s: float = 15) -> int:
        process = self._running()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Stack:
    """Everything except agents, on free ports, in one directory."""

    def __init__(
        self, directory: Path, partitions: int = 4, serve_flags: tuple[str, ...] = ("--cache", "0.2")
    ) -> None:
        self.serve_flags = serve_flags
        self.directory = directory
        self.partitions = partitions
        self.kafka = KafkaProcess(directory / "kafka")
        self.clickhouse = ClickHouseProcess(directory / "clickhouse")
        self.children: list[Child] = []
        self.worker: Child
        self.serve: Child
        self.serve_port = 0
        self.token = ""

    def __enter__(self) -> Self:
        try:
            self.kafka.start()
            self.clickhouse.start()
            self.config = self.clickhouse.config()
            migrate(self.config)
            self.client: Client = connect(self.config)
            asyncio.run(ensure_topics(self.kafka.bootstrap_servers, self.topics()))
            self.worker = self.child("worker", "worker", "--instance-id", "worker-1", ready="worker ready")
            self.worker.start()
            self.serve = self.child(
                "serve", "serve", "--port", "0", *self.serve_flags, ready=r"ready http://.*:(\d+)\n"
            )
            self.serve_port = int(self.serve.start()[1])
            self.token = create_token(self.client, "*", "tests", datetime.now(UTC))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self.children):
            child.kill()
        self.clickhouse.stop()
        self.kafka.stop()

    def topics(self) -> list[TopicSpec]:
        return [
            TopicSpec(
                topic.name("endpoint-analytics"), self.partitions, topic.retention_ms, config=TOPIC_CONFIG
            )
            for topic in TOPICS
        ]

    @property
    def environment(self) -> dict[str, str]:
        return dict(
            os.environ,
            ENDPOINT_ANALYTICS_KAFKA=self.kafka.bootstrap_servers,
            PYTHONUNBUFFERED="1",
            **self.clickhouse.environment,
        )

    def child(self, name: str, *words: str, ready: str, **environment: str) -> Child:
        """Return an `endpoint-analytics` process, not yet started."""
        return self.program(
            name, [sys.executable, "-m", "endpoint_analytics.infra.command", *words], ready, **environment
        )

    def program(self, name: str, words: list[str], ready: str, **environment: str) -> Child:
        child = Child(words, self.environment | environment, self.directory / f"{name}.log", ready)
        self.children.append(child)
        return child

    def rows(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(sql, parameters=parameters).result_rows]

    def scrape(
        self, endpoint: str, namespace: str = "tests", accept: str = "application/openmetrics-text"
    ) -> str:
        """Return the OpenMetrics text of an endpoint; empty while it does not exist."""
        connection = http.client.HTTPConnection("127.0.0.1", self.serve_port, timeout=20)
        try:
            connection.request(
                "GET",
                f"/v2/endpoint/{namespace}/{endpoint}/open-metrics",
                headers={"Authorization": f"Bearer {self.token}", "Accept": accept},
            )
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status == 404:
                return ""
            assert answer.status == 200, f"{answer.status}: {text}"
            return text
        finally:
            connection.close()

    def samples(self, endpoint: str, name: str, namespace: str = "tests") -> dict[tuple[str, ...], float]:
        """Return the samples of one metric, keyed by their label values in the order of the label names."""
        found = {}
        text = self.scrape(endpoint, namespace)
        for family in text_string_to_metric_families(text) if text else ():
            for sample in family.samples:
                if sample.name == name:
                    found[tuple(sample.labels[label] for label in sorted(sample.labels))] = sample.value
        return found

    def counted(self, endpoint: str, name: str, namespace: str = "tests") -> dict[tuple[str, ...], float]:
        """Return the same without the series that are at 0: usual statuses have one before their first request."""
        return {
            labels: value for labels, value in self.samples(endpoint, name, namespace).items() if value > 0
        }
