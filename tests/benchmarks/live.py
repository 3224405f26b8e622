"""What users have: many replicas, each of which sends a small message a second; what a worker and ClickHouse spend.

Each replica sends a batch of about 20 requests a second (a few send ten times as many as most), with six statuses and
long tails, to 8 partitions of one broker. What counts is the CPU time of the worker and of ClickHouse for a million
requests, and how late figures are: how long ago the broker received the newest message that is stored, of the partition
that is furthest behind, seen once a second.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil
from tests.benchmarks.resources import cpu_s
from tests.benchmarks.workers import PREFIX, Workers

from endpoint_analytics.infra.deploy.topics import TopicSpec, ensure_topics
from endpoint_analytics.infra.local.clickhouse.process import ClickHouseProcess
from endpoint_analytics.infra.local.kafka.process import KafkaProcess
from endpoint_analytics.pipeline.store.connect import Client, connect
from endpoint_analytics.pipeline.store.migrate import migrate
from endpoint_analytics.schemas.codec import RequestEncoding, encode_requests
from endpoint_analytics.schemas.packed_requests import encode_packed, pack
from endpoint_analytics.schemas.requests import Arrived, Finished, RequestBatch, Responded, Totals
from endpoint_analytics.schemas.topics import REJECTED, TOPIC_CONFIG, TOPICS

NUMBERS = (200, 1_000, 10_000)
PARTITIONS = 8
REQUESTS_A_MESSAGE = 20
SETTLE_S, MEASURE_S = 25.0, 40.0
STATUSES = ((200, 0.9), (201, 0.04), (400, 0.03), (429, 0.015), (500, 0.01), (503, 0.005))
LATE = """
SELECT max(age) FROM (SELECT (toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(max(last_append))) / 1000 AS age
    FROM boots WHERE stream = 'requests' GROUP BY partition)
"""
STORED = "SELECT sum(latency_count) FROM request_windows FINAL"


class Replica:
    """Makes a replica's messages: the same requests each second, at the time of sending.

    Requests that take longer than until the end of the second end in a later one.
    """

    def __init__(self, number: int, rng: random.Random, mean: float = REQUESTS_A_MESSAGE) -> None:
        self.partition = number % PARTITIONS
        count = self.requests = max(1, round(mean * rng.paretovariate(1.5) / 3)) if mean else 0
        at_us = sorted(rng.randrange(1_000_000) for _ in range(count))
        statuses = rng.choices([code for code, _ in STATUSES], [share for _, share in STATUSES], k=count)
        waits = [int(rng.lognormvariate(10, 1)) + 1 for _ in range(count)]
        durations = [wait + int(rng.lognormvariate(11, 1.5)) for wait in waits]
        answered = [at + wait for at, wait in zip(at_us, waits, strict=True)]
        ended = [at + duration for at, duration in zip(at_us, durations, strict=True)]
        pending = sum(us // 1_000_000 for us in answered)
        self._batch = RequestBatch(
            namespace="bench",
            endpoint=f"endpoint-{number % 20}",
            replica_id=f"replica-{number}",
            boot_id=uuid.UUID(int=rng.getrandbits(128)).hex,
            seq=0,
            start_us=1_777_777_777_000_000,
            end_us=1_777_777_778_000_000,
            pending=pending,
            streaming=sum(us // 1_000_000 for us in ended) - pending,
            oldest_pending_us=max(us // 1_000_000 for us in answered) if pending else 0,
            arrived=Arrived(at_us),
            responded=Responded([us % 1_000_000 for us in answered], waits, statuses),
            finished=Finished([us % 1_000_000 for us in ended], durations, statuses),
        )
        self._packed = pack(self._batch)
        self._sums = sum(waits), sum(durations)
        self._statuses = Counter(map(str, statuses))

    def message(self, seq: int, start_us: int, encoding: RequestEncoding = "packed") -> bytes:
        """Return the message of the second that begins then."""
        totals = Totals(
            arrived=self.requests * (seq + 1),
            finished=self.requests * (seq + 1),
            status={status: count * (seq + 1) for status, count in self._statuses.items()},
            wait_us=self._sums[0] * (seq + 1),
            duration_us=self._sums[1] * (seq + 1),
        )
        members = {"seq": seq, "start_us": start_us, "end_us": start_us + 1_000_000, "totals": totals}
        if encoding == "json":
            return encode_requests(msgspec.structs.replace(self._batch, **members), "json")
        return encode_packed(msgspec.structs.replace(self._packed, **members))


def wire_bytes(encoding: RequestEncoding, mean: float, replicas: int = 500) -> tuple[float, float]:
    """Return the bytes of a message, and of a request, of replicas that have run for a day."""
    rng = random.Random(1)
    load = [Replica(number, rng, mean) for number in range(replicas)]
    size = sum(len(replica.message(86_400, 1_777_777_777_000_000, encoding)) for replica in load)
    return size / replicas, size / max(sum(replica.requests for replica in load), 1)


def main(numbers: Sequence[int] = NUMBERS) -> None:
    """Print a line for each number of replicas."""
    print(
        f"{REQUESTS_A_MESSAGE} requests a message on average, {PARTITIONS} partitions, {os.cpu_count()} cores; "
        "CPU in s for a million requests\n"
        "replicas  requests/s  worker  ClickHouse   both  % of a core: worker  ClickHouse  late: p50   max"
        "  worker's MB  bytes a request"
    )
    for number in numbers:
        with tempfile.TemporaryDirectory() as directory:
            _measure(number, Path(directory))


def _measure(number: int, data: Path) -> None:
    with KafkaProcess(data / "kafka") as kafka, ClickHouseProcess(data / "clickhouse") as clickhouse:
        config = clickhouse.config()
        migrate(config)
        ensure(kafka.bootstrap_servers)
        client, workers = connect(config), Workers(kafka.bootstrap_servers, config, data)
        load = [sys.executable, "-m", "tests.benchmarks.live_load", kafka.bootstrap_servers, str(number)]
        with subprocess.Popen(load, stdout=subprocess.PIPE, text=True) as sender:
            try:
                workers.grow(1)
                _print(number, client, workers, psutil.Process(clickhouse.pid), sender)
            finally:
                sender.terminate()
                workers.stop()
                client.close()


def ensure(brokers: str) -> None:
    """Make the topics."""
    specs = [
        TopicSpec(t.name(PREFIX), 1 if t is REJECTED else PARTITIONS, t.retention_ms, config=TOPIC_CONFIG)
        for t in TOPICS
    ]
    asyncio.run(ensure_topics(brokers, specs))


def _print(
    number: int,
    client: Client,
    workers: Workers,
    clickhouse: psutil.Process,
    sender: subprocess.Popen[str],
) -> None:
    assert sender.stdout is not None
    words = sender.stdout.readline().split()
    assert words[0] == "sending", words
    size = float(words[1])
    time.sleep(SETTLE_S)
    worker = workers.processes[0]
    ours, theirs, stored, begun = cpu_s(worker), cpu_s(clickhouse), _stored(client), time.monotonic()
    ages = []
    while time.monotonic() < begun + MEASURE_S:
        ages.append(float(client.query(LATE).result_rows[0][0]))
        time.sleep(1.0)
    ours, theirs, requests = cpu_s(worker) - ours, cpu_s(clickhouse) - theirs, _stored(client) - stored
    took_s = time.monotonic() - begun
    ages.sort()
    millions = max(requests, 1) / 1e6
    print(
        f"{number:>8}  {requests / took_s:>10.0f}  {ours / millions:>6.1f}  {theirs / millions:>10.1f}"
        f"  {(ours + theirs) / millions:>5.1f}  {ours / took_s * 100:>19.0f}  {theirs / took_s * 100:>10.0f}"
        f"  {ages[len(ages) // 2]:>9.1f}  {ages[-1]:>4.1f}  {worker.memory_info().rss / 1e6:>11.0f}  {size:>15.0f}",
        flush=True,
    )


def _stored(client: Client) -> int:
    return int(client.query(STORED).result_rows[0][0])


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or NUMBERS)
