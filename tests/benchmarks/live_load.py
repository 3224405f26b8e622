"""Sends what live_run.py measures, from a process of its own: the messages of so many replicas, in time.

The form `requests` is our batches, one message a replica and second, or with `hardware` two; `json` is a JSON message
for each request, keyed by its replica, as peers' users send them.
"""

from __future__ import annotations

import asyncio
import sys
import time

from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer
from tests.benchmarks.live import Replica
from tests.benchmarks.live_hardware import HardwareReplica
from tests.benchmarks.pipelines import BATCHES
from tests.benchmarks.workers import PREFIX

from endpoint_analytics.schemas.topics import HARDWARE

STEPS = 50  # a second
START_US = 1_777_777_777_000_000


def make_replicas(number: int, requests_a_message: int) -> list[Replica]:
    """Return the replicas, the same ones each time."""
    return [Replica(each, requests_a_message) for each in range(number)]


async def send_batches(brokers: str, replicas: list[Replica], steps: int, hardware: bool) -> None:
    """Send a message for each replica and second, or two."""
    samplers = [HardwareReplica(number) for number in range(len(replicas) if hardware else 0)]
    topic, begun_s = f"{PREFIX}.{BATCHES}", time.time()
    async with AIOKafkaProducer(
        bootstrap_servers=brokers, linger_ms=5, max_batch_size=1024 * 1024
    ) as producer:
        for step in range(steps):
            await asyncio.sleep(max(0.0, begun_s + step / STEPS - time.time()))
            seq, part = divmod(step, STEPS)
            start_us = int((begun_s + step / STEPS - 1) * 1e6)
            for replica in replicas[part::STEPS]:
                await producer.send(topic, replica.message(seq, start_us), partition=replica.partition)
            for sampler in samplers[part::STEPS]:
                message = sampler.message(seq, start_us)
                await producer.send(HARDWARE.name(PREFIX), message, partition=sampler.partition)


def send_requests(brokers: str, form: str, replicas: list[Replica], steps: int) -> None:
    """Send a message for each request, those of a replica's second together."""
    topic, begun_s = f"{PREFIX}.{form}", time.time()
    producer = Producer(
        {"bootstrap.servers": brokers, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000}
    )
    for step in range(steps):
        time.sleep(max(0.0, begun_s + step / STEPS - time.time()))
        seq, part = divmod(step, STEPS)
        start_us = int((begun_s + step / STEPS - 1) * 1e6)
        for replica in replicas[part::STEPS]:
            for at_ms, value in replica.request_messages(seq, start_us):
                producer.produce(topic, value, replica.key, replica.partition, timestamp=at_ms)
        producer.poll(0)
    producer.flush()


def main(
    brokers: str, form: str, number: int, requests_a_message: int, seconds: int, hardware: int = 0
) -> None:
    """Send for so long, or until the process is ended. Says `sending` and the bytes a request."""
    replicas = make_replicas(number, requests_a_message)
    steps = seconds * STEPS or sys.maxsize
    some = make_replicas(min(number, 100), requests_a_message)
    messages = [
        message
        for each in some
        for message in (
            [each.message(0, START_US)]
            if form == BATCHES
            else [value for _, value in each.request_messages(0, START_US)]
        )
    ]
    print("sending", sum(map(len, messages)) / sum(each.requests for each in some), flush=True)
    if form == BATCHES:
        asyncio.run(send_batches(brokers, replicas, steps, bool(hardware)))
    else:
        send_requests(brokers, form, replicas, steps)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:7]))
