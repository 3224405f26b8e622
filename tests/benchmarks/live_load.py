"""Sends what live.py measures, from a process of its own: the messages of so many replicas, each a second, in time."""

from __future__ import annotations

import asyncio
import random
import sys
import time

from aiokafka import AIOKafkaProducer
from tests.benchmarks.live import Replica
from tests.benchmarks.workers import PREFIX

from endpoint_analytics.schemas.topics import REQUESTS

STEPS = 50  # a second


async def send(brokers: str, number: int) -> None:
    """Send until the process is ended. Says `sending` and the bytes a request."""
    rng = random.Random(1)
    replicas = [Replica(each, rng) for each in range(number)]
    size = sum(len(each.message(777, 1_777_777_777_000_000)) for each in replicas)
    print("sending", size / sum(each.requests for each in replicas), flush=True)
    topic, begun_s, step = REQUESTS.name(PREFIX), time.time(), 0
    async with AIOKafkaProducer(
        bootstrap_servers=brokers, linger_ms=5, max_batch_size=1024 * 1024
    ) as producer:
        while True:
            await asyncio.sleep(max(0.0, begun_s + step / STEPS - time.time()))
            seq, part = divmod(step, STEPS)
            start_us = int((begun_s + step / STEPS - 1) * 1e6)
            for replica in replicas[part::STEPS]:
                await producer.send(topic, replica.message(seq, start_us), partition=replica.partition)
            step += 1


if __name__ == "__main__":
    asyncio.run(send(sys.argv[1], int(sys.argv[2])))
