"""Unreadable record batches: each is skipped, counted and reported, and nothing else is lost.

A broker refuses them when they are sent. So they are created where they really come from: on its disk, while it is
down. Also codecs that an operator sets on a topic: those are read.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import Counter
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaProducer
from tests.faults import segments
from tests.faults.rig import Parts, Rig

from endpoint_analytics.infra.fleet.fleet import Fleet
from endpoint_analytics.infra.fleet.sender import Message
from endpoint_analytics.schemas.topics import HARDWARE, REQUESTS

TRAFFIC = {"rate": 8.0, "duplicates": 0.05, "restarts": 0.02, "hardware": True}


@pytest.mark.slow
def test_codecs_that_an_operator_sets_on_a_topic(rig: Rig) -> None:
    """The broker recompresses messages; our producers and the worker support each codec."""
    rig.worker()
    for codec in ("lz4", "zstd", "snappy", "gzip"):
        for topic in (REQUESTS, HARDWARE):
            rig.configure(topic, compression_type=codec)
        rig.send_fast(3, name=f"{rig.name}-{codec}", **TRAFFIC)
    rig.verify("compression.type lz4, zstd, snappy, gzip on the topics")


FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "checksum": segments.flipped,
    "garbage": segments.garbage,
    "codec": segments.unknown_codec,
    "cut": segments.with_codec(4, segments.cut_zstd),
    "bomb": segments.with_codec(4, segments.zstd_bomb),
}


def sealed(rig: Rig, fleet: Fleet, rounds: int) -> list[list[Message]]:
    """Send this many rounds of the fleet to partition 0, each round as one record batch."""
    interval_us = 500_000
    start_us = time.time_ns() // 1000 - rounds * interval_us
    sent = []

    async def send() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=rig.parts.kafka.bootstrap_servers, max_batch_size=2**20
        ) as producer:
            for at_us in range(start_us, start_us + rounds * interval_us, interval_us):
                batch = producer.create_batch()
                messages = [m for r in fleet.replicas for m in r.step(at_us, at_us + interval_us)]
                for message in messages:
                    assert batch.append(key=message.key, value=message.value, timestamp=None)
                await (await producer.send_batch(batch, REQUESTS.name(rig.name), partition=0))
                sent.append(messages)

    asyncio.run(send())
    return sent


def spoil(rig: Rig, faults: dict[int, Callable[[bytes], bytes]]) -> dict[int, tuple[int, int]]:
    """Change batches of partition 0 on the broker's disk while it is down; returns the offsets of each."""
    kafka = rig.parts.kafka
    kafka.stop(60)  # cleanly: after a crash it would look through its segments, and cut them
    [directory] = (rig.parts.directory / "kafka").rglob(f"{REQUESTS.name(rig.name)}-0")
    found = {number: segments.edit(directory, number, change) for number, change in faults.items()}
    kafka.start()
    return found


def settle(sent: list[list[Message]], lost: set[int]) -> None:
    """Adjust the fleet's truth to the contents of the log, which has nothing at these offsets any longer."""
    for offset, message in enumerate(message for messages in sent for message in messages):
        if offset in lost:
            truth, counts, _ = message.stored.args  # type: ignore[attr-defined]
            truth.lost.add(counts)
            truth.missing += 1
        else:
            message.stored(0, offset)


def unreadable(rig: Rig, faults: dict[str, Callable[[bytes], bytes]], fault: str, worker_runs: bool) -> None:
    worker = rig.worker() if worker_runs else None
    rounds = 3 * len(faults) + 2
    fleet = rig.fleet(replicas=40, rate=8.0)
    sent = sealed(rig, fleet, rounds)
    if worker is not None:
        worker.kill()
    spoilt = spoil(rig, {2 + 3 * number: change for number, change in enumerate(faults.values())})
    settle(sent, {offset for first, last in spoilt.values() for offset in range(first, last + 1)})
    rig.replay()
    worker = rig.worker()
    rig.send_fast(2, name=f"{rig.name}-beside", **TRAFFIC)
    rig.verify(fault, rejected=Counter(unreadable_batch=len(faults)))
    assert worker.process.poll() is None
    named = rig.rows("SELECT topic, partition, offset, detail FROM rejected FINAL ORDER BY offset")
    assert [row[:3] for row in named] == [(REQUESTS.name(rig.name), 0, first) for first, _ in spoilt.values()]
    for (first, last), (_, _, _, detail), name in zip(spoilt.values(), named, faults, strict=True):
        assert f"offsets {first} to {last}: " in detail, name
    assert set(rig.rejected_messages()) == {row[:3] for row in named}
    rig.replay()
    worker.kill()
    rig.worker()
    rig.wait_for_last_chunks()
    rig.verify(f"{fault}, and the log replayed", rejected=Counter(unreadable_batch=len(faults)))


@pytest.mark.slow
def test_batches_that_a_disk_and_a_bad_packer_spoilt(parts: Parts) -> None:
    """A flipped bit, noise with a valid checksum, an unknown codec, a truncated frame, and a decompression bomb."""
    parts.repair()
    rig = Rig(parts, "unreadable", partitions=1)
    try:
        unreadable(rig, FAULTS, "a batch each: checksum, garbage, codec, cut frame, bomb", worker_runs=False)
    finally:
        rig.close()


@pytest.mark.slow
def test_a_place_where_the_broker_itself_cannot_read(parts: Parts) -> None:
    """A batch's length is wrong on its disk: the broker finds later batches only through its index."""
    parts.repair()
    rig = Rig(parts, "broken-length", partitions=1)
    try:
        worker = rig.worker()
        fleet = rig.fleet(replicas=40, rate=8.0)
        sent = sealed(rig, fleet, 8)
        worker.kill()
        [(first, last)] = spoil(
            rig, {3: lambda batch: batch[:8] + struct.pack(">i", 5) + batch[12:]}
        ).values()
        rig.replay()
        rig.worker()
        end = sum(map(len, sent))
        rig.eventually(
            lambda: rig.rows("SELECT max(version) FROM chunks WHERE stream = 'requests'"),
            lambda found: found == [(end - 1,)],
            "the log's end",
        )
        # The broker's index points past the next batch: that one is skipped too, and each offset is reported.
        named = {offset for (offset,) in rig.rows("SELECT offset FROM rejected FINAL")}
        assert set(range(first, last + 1)) <= named <= set(range(first, last + 1 + len(sent[4])))
        settle(sent, named)
        rig.verify("a length that the broker cannot follow", rejected=Counter(unreadable_batch=len(named)))
    finally:
        rig.close()
