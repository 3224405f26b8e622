"""What users have after an outage: small messages of many replicas wait in Kafka; what catching up costs.

Messages and replicas are those of live.py. CPU time is measured from the worker's first read until all is stored,
without the startup of Python and Faust.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer
from tests.benchmarks.live import REQUESTS_A_MESSAGE, Replica
from tests.benchmarks.live_load import make_replicas
from tests.benchmarks.live_run import LiveRun
from tests.benchmarks.pipelines import BATCHES, OUR_PIPELINE
from tests.benchmarks.results import BACKLOG, CPU, Figure
from tests.benchmarks.workers import PREFIX

REPLICAS, SECONDS = 500, 120


def main() -> list[Figure]:
    """Print what a million requests cost, and how fast they were stored."""
    replicas = make_replicas(REPLICAS, REQUESTS_A_MESSAGE)
    requests = sum(replica.requests for replica in replicas) * SECONDS
    with tempfile.TemporaryDirectory() as directory, LiveRun(OUR_PIPELINE, Path(directory)) as run:
        asyncio.run(_fill(run.brokers, replicas))
        run.start()
        spent = run.measure(requests=requests)
    shape = f"{REPLICAS} replicas, {SECONDS} s of a message a second each, {REQUESTS_A_MESSAGE} requests a message"
    print(
        f"backlog of {requests:,} requests ({shape}): worker {spent.pipeline_s / requests * 1e6:.2f} and "
        f"ClickHouse {spent.clickhouse_s / requests * 1e6:.2f} CPU-s a million requests; "
        f"{requests / spent.took_s:,.0f} requests/s by the clock"
    )
    return [Figure(BACKLOG, spent.cpu_s_a_million, CPU, shape)]


async def _fill(brokers: str, replicas: list[Replica]) -> None:
    topic, start_us = f"{PREFIX}.{BATCHES}", int(time.time() - SECONDS - 1) * 1_000_000
    async with AIOKafkaProducer(
        bootstrap_servers=brokers, linger_ms=20, max_batch_size=1024 * 1024
    ) as producer:
        for seq in range(SECONDS):
            for replica in replicas:
                message = replica.message(seq, start_us + seq * 1_000_000)
                await producer.send(topic, message, partition=replica.partition)


if __name__ == "__main__":
    main()
