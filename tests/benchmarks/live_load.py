"""Sends what live_run.py measures, from a process of its own: the messages of so many replicas, in time.

The form `requests` is our batches, one message a replica and second, or with `hardware` two; `json` is a JSON message
for each request, keyed by its replica, as peers' users send them.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from confluent_kafka import Producer
from tests.benchmarks.live import Replica
from tests.benchmarks.live_hardware import HardwareReplica
from tests.benchmarks.pipelines import BATCHES
from tests.benchmarks.workers import PREFIX

from endpoint_analytics.schemas.topics import HARDWARE

STEPS = 50  # a second
MOST_ALONE = 1_000
START_US = 1_777_777_777_000_000


class Outgoing(NamedTuple):
    """A message to send; without a time, it has that of sending."""

    topic: str
    value: bytes
    partition: int
    key: str = ""
    at_ms: int = 0


MessagesOf = Callable[[Replica, int, int], Iterator[Outgoing]]
"""The messages of a replica's second: its number since the begin, and when it began, in microseconds."""


def make_replicas(number: int, requests_a_message: int) -> list[Replica]:
    """Return the replicas, the same ones each time."""
    return [Replica(each, requests_a_message) for each in range(number)]


def batches(topic: str, replica: Replica, seq: int, start_us: int) -> Iterator[Outgoing]:
    """Yield a replica's message of a second."""
    key = f"bench/{replica.endpoint}/{replica.name}"
    yield Outgoing(topic, replica.message(seq, start_us), replica.partition, key)


def requests(topic: str, replica: Replica, seq: int, start_us: int) -> Iterator[Outgoing]:
    """Yield a message for each request of a replica's second."""
    for at_ms, value in replica.request_messages(seq, start_us):
        yield Outgoing(topic, value, replica.partition, replica.key, at_ms)


def with_hardware(
    samplers: Mapping[str, HardwareReplica], topic: str, replica: Replica, seq: int, start_us: int
) -> Iterator[Outgoing]:
    """Yield a replica's message of a second, and its sample of hardware."""
    yield from batches(topic, replica, seq, start_us)
    sampler = samplers[replica.name]
    yield Outgoing(HARDWARE.name(PREFIX), sampler.message(seq, start_us), sampler.partition)


def send(brokers: str, form: str, replicas: Sequence[Replica], messages_of: MessagesOf, steps: int) -> None:
    """Send what each replica has each second, a part of the replicas in each step."""
    # Each replica has a connection of its own, and so a record batch for each message. For more replicas this machine's
    # cores are too few: then what is sent within 5 ms shares a batch.
    is_alone = len(replicas) <= MOST_ALONE and form == BATCHES
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "linger.ms": 0 if is_alone else 5,
            "batch.num.messages": 1 if is_alone else 10_000,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    begun_s, warned = time.time(), False
    for step in range(steps):
        due_s = begun_s + step / STEPS
        time.sleep(max(0.0, due_s - time.time()))
        if time.time() > due_s + 2 and not warned:
            warned = True
            print(
                "the load is more than 2 s late: this machine is too busy to measure so many", file=sys.stderr
            )
        seq, part = divmod(step, STEPS)
        for replica in replicas[part::STEPS]:
            for each in messages_of(replica, seq, int((due_s - 1) * 1e6)):
                producer.produce(
                    each.topic, each.value, each.key or None, each.partition, timestamp=each.at_ms
                )
        producer.poll(0)
    producer.flush()


def main(
    brokers: str, form: str, number: int, requests_a_message: int, seconds: int, hardware: int = 0
) -> None:
    """Send for so long, or until the process is ended. Says `sending` and the bytes a request."""
    replicas, topic = make_replicas(number, requests_a_message), f"{PREFIX}.{form}"
    samplers = {each.name: HardwareReplica(at) for at, each in enumerate(replicas)}
    plain = partial(batches if form == BATCHES else requests, topic)
    messages_of: MessagesOf = partial(with_hardware, samplers, topic) if hardware else plain
    some = make_replicas(min(number, 100), requests_a_message)
    size = sum(len(message.value) for each in some for message in plain(each, 0, START_US))
    gc.freeze()  # a load that pauses is no load
    print("sending", size / sum(each.requests for each in some), flush=True)
    send(brokers, form, replicas, messages_of, seconds * STEPS or sys.maxsize)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:7]))
