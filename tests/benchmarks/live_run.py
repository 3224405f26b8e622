"""One run of a pipeline at the pace of life: a real Kafka and ClickHouse, replicas that send, and what it all costs."""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
from tests.benchmarks.pipelines import BATCHES, JSON, Pipeline
from tests.benchmarks.resources import cpu_s
from tests.benchmarks.workers import PREFIX

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.pipeline.store.connect import connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.topics import REJECTED, TOPIC_CONFIG, TOPICS

PARTITIONS = 8
LOOKS = 40
LATE = """
SELECT max(age) FROM (SELECT (toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(max(last_append))) / 1000 AS age
    FROM boots WHERE stream = 'requests' GROUP BY partition)
"""
SIZE = """
SELECT sum(bytes_on_disk) FROM system.parts
WHERE database = currentDatabase() AND active AND table = {table:String}
"""


class PipelineError(Exception):
    """A pipeline or its load did not start, or ended; the message ends with its log."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a pipeline took in a measured time: CPU seconds of each process, and what it had stored in the end.

    `others_percent` is how much of the machine processes that are none of ours took: they make a pipeline late, and its
    CPU seconds longer.
    """

    took_s: float
    requests: int
    pipeline_s: float
    clickhouse_s: float
    kafka_s: float
    log_bytes: int
    late_s: tuple[float, ...]
    memory_mb: float
    others_percent: float

    @property
    def cpu_s_a_million(self) -> float:
        """CPU seconds of the pipeline and of ClickHouse for a million requests."""
        return (self.pipeline_s + self.clickhouse_s) / max(self.requests, 1) * 1e6

    @property
    def p99_late_s(self) -> float:
        """How late the partition furthest behind was, in 99 of 100 looks; the worst of fewer looks."""
        return self.late_s[min(len(self.late_s) - 1, int(len(self.late_s) * 0.99))]


class LiveRun:
    """A pipeline, the Kafka and the ClickHouse that it uses, and replicas that send. All end with the `with`."""

    def __init__(self, pipeline: Pipeline, data: Path) -> None:
        self._pipeline = pipeline
        self._data = data
        self._stack = ExitStack()
        self._child: subprocess.Popen[str] | None = None
        self._sender: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._kafka = stack.enter_context(KafkaProcess(self._data / "kafka"))
            self._clickhouse = stack.enter_context(ClickHouseProcess(self._data / "clickhouse"))
            config = self._clickhouse.config()
            migrate(config)
            _ensure(self._kafka.bootstrap_servers)
            self._client = connect(config)
            stack.callback(self._client.close)
            for table in self._pipeline.tables:
                self._client.command(table)
            self._environment = os.environ | {
                "ENDPOINT_ANALYTICS_KAFKA": self._kafka.bootstrap_servers,
                "ENDPOINT_ANALYTICS_TOPIC_PREFIX": PREFIX,
                "ENDPOINT_ANALYTICS_CLICKHOUSE_URL": config.url,
                "ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD": config.password,
            }
            stack.callback(self._stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def brokers(self) -> str:
        """Kafka's address."""
        return self._kafka.bootstrap_servers

    def send(
        self, replicas: int, requests_a_message: int, seconds: int = 0, *, hardware: bool = False
    ) -> float:
        """Let replicas send, for so long or until the end; returns the bytes a request, once all are made."""
        words = [
            self._kafka.bootstrap_servers,
            self._pipeline.form,
            replicas,
            requests_a_message,
            seconds,
            int(hardware),
        ]
        self._sender = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.live_load", *map(str, words)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._sender.stdout is not None
        said = self._sender.stdout.readline().split()
        assert said[:1] == ["sending"], said
        return float(said[1])

    def wait_sent(self) -> None:
        """Wait until a load of a given time is sent."""
        assert self._sender is not None
        if self._sender.wait(600):
            raise PipelineError("the load failed")

    def start(self) -> None:
        """Start the pipeline, and return once it reads."""
        topic = f"{PREFIX}.{self._pipeline.form}"
        words = self._pipeline.words(self._kafka.bootstrap_servers, topic, self._data)
        with (self._data / "pipeline.log").open("ab") as log:
            self._child = subprocess.Popen(
                words, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._child.stdout is not None
        if not self._child.stdout.readline().endswith("ready\n"):
            log_text = (self._data / "pipeline.log").read_text()
            raise PipelineError(f"{self._pipeline.name} did not start:\n{log_text[-2000:]}")

    def kill(self) -> None:
        """Kill the pipeline with SIGKILL."""
        assert self._child is not None
        self._child.kill()
        self._child.wait()

    @contextmanager
    def clickhouse_paused(self) -> Iterator[None]:
        """Let ClickHouse answer nothing meanwhile; it goes on with what it was sent."""
        os.kill(self._clickhouse.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._clickhouse.pid, signal.SIGCONT)

    def stored(self) -> dict[str, int]:
        """Return the requests stored of each replica."""
        return {
            str(name): int(count) for name, count in self._client.query(self._pipeline.stored).result_rows
        }

    def measure(self, seconds: float = math.inf, requests: float = math.inf) -> Spent:
        """Return what was spent in that time, or until so many requests are stored."""
        assert self._child is not None
        child = psutil.Process(self._child.pid)
        processes = [child, psutil.Process(self._clickhouse.pid), psutil.Process(self._kafka.pid)]
        if self._sender is not None:
            processes.append(psutil.Process(self._sender.pid))
        stored, log_bytes = self.stored(), self._log_bytes()
        busy_s, cpu, begun = _busy_s(), [*map(cpu_s, processes)], time.monotonic()
        while time.monotonic() < begun + seconds:
            if requests < math.inf and sum(self.stored().values()) >= requests:
                break
            self._check()
            time.sleep(1.0)
        spent = [now - then for now, then in zip(map(cpu_s, processes), cpu, strict=True)]
        took_s, busy_s = time.monotonic() - begun, _busy_s() - busy_s
        counted = sum(self.stored().values()) - sum(stored.values())
        looks = LOOKS if self._pipeline.form == BATCHES and seconds < math.inf else 0
        return Spent(
            took_s=took_s,
            requests=counted,
            pipeline_s=spent[0],
            clickhouse_s=spent[1],
            kafka_s=spent[2],
            log_bytes=self._log_bytes() - log_bytes,
            late_s=tuple(sorted(self._look() for _ in range(looks))),
            memory_mb=child.memory_info().rss / 1e6,
            others_percent=max(0.0, busy_s - sum(spent)) / (took_s * (psutil.cpu_count() or 1)) * 100,
        )

    def _look(self) -> float:
        """Return how late what is stored is, after a second or so; its own cost is not measured."""
        self._check()
        time.sleep(random.uniform(0.8, 1.2))
        return float(self._client.query(LATE).result_rows[0][0])

    def _check(self) -> None:
        """Raise PipelineError if the pipeline has ended."""
        if self._child is not None and self._child.poll() is not None:
            text = (self._data / "pipeline.log").read_text()
            raise PipelineError(f"{self._pipeline.name} ended:\n{text[-2000:]}")

    def bytes_a_window(self, table: str = "request_windows") -> float:
        """Return the bytes on disk of a replica's 10 s in a table, once ClickHouse has merged its parts."""
        self._client.command(f"OPTIMIZE TABLE {table} FINAL")
        windows = self._client.query(f"SELECT uniqExact(replica_id, window_start) FROM {table}").result_rows[
            0
        ][0]
        return float(self._client.query(SIZE, {"table": table}).result_rows[0][0]) / float(windows)

    def _log_bytes(self) -> int:
        directories = (self._data / "kafka").rglob(f"{PREFIX}.{self._pipeline.form}-*")
        return sum(file.stat().st_size for each in directories for file in each.glob("*.log"))

    def _stop(self) -> None:
        for child in (self._sender, self._child):
            if child is not None:
                child.terminate()
                try:
                    child.wait(15)
                except subprocess.TimeoutExpired:  # Faust, with much left to do
                    child.kill()
                    child.wait()
                if child.stdout is not None:
                    child.stdout.close()


def _busy_s() -> float:
    """Return the CPU seconds that all processes of the machine have taken."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _ensure(brokers: str) -> None:
    """Make our topics, and that of the peers, whose times are the senders'."""
    specs = [
        TopicSpec(t.name(PREFIX), 1 if t is REJECTED else PARTITIONS, t.retention_ms, config=TOPIC_CONFIG)
        for t in TOPICS
    ]
    day_ms = 86_400_000
    peers = TopicSpec(f"{PREFIX}.{JSON}", PARTITIONS, day_ms, config={"message.timestamp.type": "CreateTime"})
    asyncio.run(ensure_topics(brokers, [*specs, peers]))
