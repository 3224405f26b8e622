"""Unusable messages, wrong clocks, replicas that share a name: the counts of valid messages stay exact."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from tests.faults.rig import Rig

from endpoint_analytics.infra.fleet.poison import KINDS, TOO_LARGE, poison
from endpoint_analytics.infra.fleet.replica import FleetReplica
from endpoint_analytics.infra.fleet.sender import FleetSender, Message
from endpoint_analytics.schemas.codec import decode_requests
from endpoint_analytics.schemas.configuration.kafka_config import KafkaConfig
from endpoint_analytics.schemas.topics import REQUESTS

HOUR_S = 3600.0


def send_each_kind(rig: Rig) -> tuple[Counter[str], list[tuple[str, int, int]]]:
    """Send each kind of poison, and too large messages that Kafka accepts; returns the expected rejections."""

    topic = REQUESTS.name(rig.name)
    fleet = rig.fleet(replicas=1, name=f"{rig.name}-good")
    replica: FleetReplica = fleet.replicas[0]
    now_us = 0
    reasons: Counter[str] = Counter()
    places: list[tuple[str, int, int]] = []

    async def send() -> None:
        nonlocal now_us
        now_us = time.time_ns() // 1000 - 60_000_000
        async with FleetSender(KafkaConfig(bootstrap_servers=rig.parts.kafka.bootstrap_servers)) as sender:
            for kind in (*KINDS, TOO_LARGE):
                good = list(replica.step(now_us, now_us + 500_000))
                now_us += 500_000
                made = poison(kind, decode_requests(good[0].value))
                stored = lambda partition, offset: places.append((topic, partition, offset))  # noqa: E731
                await sender.deliver([*good, Message(topic, kind.encode(), made.value, stored)])
                reasons[made.reason] += 1

    asyncio.run(send())
    return reasons, places


def test_poison_of_each_kind(rig: Rig) -> None:
    """Each is one row in `rejected` and one message in the rejected topic; it stops and spoils nothing."""
    rig.worker()
    reasons, places = send_each_kind(rig)
    rig.send_fast(5, duplicates=0.1, gaps=0.05)
    rig.verify("poison of each kind among good batches", rejected=reasons)
    stored = set(rig.rows("SELECT topic, partition, offset FROM rejected FINAL"))
    assert stored == set(places)
    assert rig.rejected_messages() == Counter(places)


@pytest.mark.slow
def test_ten_megabytes_do_not_enter_the_log(rig: Rig) -> None:
    async def send() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=rig.parts.kafka.bootstrap_servers, max_request_size=32 * 1024 * 1024
        ) as producer:
            await producer.send_and_wait(REQUESTS.name(rig.name), b" " * 10 * 1024 * 1024)

    with pytest.raises(MessageSizeTooLargeError):
        asyncio.run(send())
    rig.worker()
    rig.send_fast(3)
    rig.verify("10 MB refused by Kafka, the others exact")


@pytest.mark.slow
def test_poison_and_a_killed_worker(rig: Rig) -> None:
    worker = rig.worker()
    sending = rig.send_steadily(7, poison=0.3, duplicates=0.1)
    rig.wait_for_commits()
    worker.kill()
    rig.worker()
    sending.join()
    rig.verify("poison beside three in ten batches, worker killed")
    places = {place for fleet in rig.fleets for place in fleet.truth.poison_places}
    assert set(rig.rows("SELECT topic, partition, offset FROM rejected FINAL")) == places
    assert rig.rejected_messages().keys() == places


def test_late_within_the_bounds(rig: Rig) -> None:
    rig.worker()
    for hours in (1, 24, 47):
        rig.send_fast(4, name=f"{rig.name}-{hours}h", clock_offset_s=-hours * HOUR_S, duplicates=0.1)
    rig.send_fast(4, name=f"{rig.name}-spread", clock_spread_s=20 * HOUR_S, clock_offset_s=-21 * HOUR_S)
    rig.verify("events up to 47 h late")


@pytest.mark.parametrize(
    ("offset_s", "reason"),
    [
        (-49 * HOUR_S, "too_late"),
        pytest.param(-30 * 24 * HOUR_S, "too_late", marks=pytest.mark.slow),
        pytest.param(120.0, "too_early", marks=pytest.mark.slow),
        (24 * HOUR_S, "too_early"),
    ],
    ids=["49h-late", "30d-late", "2min-early", "24h-early"],
)
def test_out_of_bounds(rig: Rig, offset_s: float, reason: str) -> None:
    """All of it is rejected with the reason and not counted; batches on time are exact."""
    rig.worker()
    off = rig.fleet(name=f"{rig.name}-off", replicas=10, clock_offset_s=offset_s)
    rig.fleets.remove(off)
    asyncio.run(off.run_fast(4))
    rig.send_fast(6)
    assert off.truth.batches == 40
    rejected = Counter({reason: 2 * off.truth.batches})  # of requests, and of their outcomes
    rig.verify(f"clocks {offset_s / HOUR_S:+.2f} h off: {reason}", rejected=rejected)
    assert rig.rows("SELECT count() FROM request_windows WHERE endsWith(namespace, '-off')") == [(0,)]


@pytest.mark.slow
def test_ahead_within_the_bounds(rig: Rig) -> None:
    rig.worker()
    rig.send_fast(6, clock_offset_s=45.0)
    rig.verify("clocks 45 s ahead")


@pytest.mark.slow
def test_a_name_shared_by_two_boots(rig: Rig) -> None:
    """The old process still sends alongside the new one: two boots, each exact."""
    rig.worker()
    rig.send_steadily(6, restarts=0.3, overlap=4, duplicates=0.1, late=0.1).join()
    rig.verify("replica names reused while the old boots still send")
    [(most,)] = rig.rows(
        "SELECT max(boots) FROM (SELECT replica_id, window_start, uniqExact(boot_id) AS boots"
        " FROM request_windows FINAL GROUP BY replica_id, window_start)"
    )
    assert most > 1


@pytest.mark.slow
def test_batches_held_back_over_chunks(rig: Rig) -> None:
    rig.worker()
    rig.send_steadily(8, late=0.3, late_batches=8, gaps=0.1, duplicates=0.2).join()
    rig.verify("three in ten batches 4 s late, one in ten never sent")


def test_stamps_that_no_clock_gives(rig: Rig) -> None:
    """On a topic with its senders' timestamps, any append time may occur: it is rejected by name."""
    rig.worker()
    rig.configure(REQUESTS, message_timestamp_type="CreateTime")
    [good] = rig.fleet(name=f"{rig.name}-odd", replicas=1, outcomes=False).replicas[0].step(*just_now())
    rig.fleets.pop()
    stamps_s = (-1.0, 0.0, 0.5, -1e9)

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=rig.parts.kafka.bootstrap_servers) as producer:
            for stamp_s in stamps_s:
                batch = producer.create_batch()
                assert batch.append(timestamp=stamp_s, key=good.key, value=good.value)
                batch.close()
                await (await producer.send_batch(batch, REQUESTS.name(rig.name), partition=0))

    asyncio.run(send())
    rig.send_fast(3)
    rig.verify("stamps of 1970 and before", rejected=Counter(too_early=len(stamps_s)))


def just_now() -> tuple[int, int]:
    now_us = time.time_ns() // 1000
    return now_us - 500_000, now_us
