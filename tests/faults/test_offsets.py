"""The Kafka log itself: replays from its beginning, holes in its offsets, gaps in its time."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest
from aiokafka import AIOKafkaProducer
from tests.faults.rig import Rig

from endpoint_analytics.infra.fleet.fleet import Fleet
from endpoint_analytics.infra.fleet.sender import Message
from endpoint_analytics.schemas.topics import REQUESTS

TRAFFIC = {"rate": 8.0, "duplicates": 0.1, "gaps": 0.02, "late": 0.05, "restarts": 0.05, "hardware": True}


@pytest.mark.slow
def test_offsets_reset_to_the_beginning(rig: Rig) -> None:
    worker = rig.worker()
    rig.send_steadily(6, **TRAFFIC).join()
    rig.verify("before the offsets are reset")
    assert worker.stop(30) == 0
    rig.replay()
    rig.worker("replayer")
    rig.send_steadily(3, name=f"{rig.name}-more", **TRAFFIC).join()
    rig.wait_for_last_chunks()
    rig.verify("offsets reset to earliest, all read again")


@pytest.mark.slow
def test_a_replay_beside_the_worker_that_goes_on(rig: Rig) -> None:
    """Another group reads everything from the beginning into the same tables, while the first continues."""
    rig.worker()
    sending = rig.send_steadily(8, **TRAFFIC)
    rig.wait_for_commits()
    rig.replay()
    rig.worker("replayer")
    sending.join()
    rig.verify("the log replayed beside the worker that goes on")


@pytest.mark.slow
def test_gaps_in_append_time(rig: Rig) -> None:
    rig.worker()
    fleet = rig.fleet(**TRAFFIC)
    for _ in range(3):
        asyncio.run(fleet.run_fast(4))
        time.sleep(2.5)
    rig.verify("gaps of more than a chunk in append time")


class Transactions:
    """Sends a fleet's messages in transactions; every third is aborted, and its messages are sent again."""

    def __init__(self, servers: str, number: str) -> None:
        self._producer_of = partial(
            AIOKafkaProducer,
            bootstrap_servers=servers,
            transactional_id=number,
            max_request_size=8 * 1024 * 1024,
        )
        self.uncertain = 0
        self._count = 0

    async def deliver(self, messages: list[Message]) -> None:
        async with self._producer_of() as producer:
            for start in range(0, len(messages), 20):
                part = messages[start : start + 20]
                self._count += 1
                if self._count % 3 == 0:
                    await producer.begin_transaction()
                    for message in part:
                        await producer.send(message.topic, value=message.value, key=message.key)
                    await producer.flush()
                    await producer.abort_transaction()
                    self.uncertain += len(part)
                async with producer.transaction():
                    answers = [await producer.send(m.topic, value=m.value, key=m.key) for m in part]
                for message, answer in zip(part, answers, strict=True):
                    stored = await answer
                    message.stored(stored.partition, stored.offset)


async def _in_transactions(fleet: Fleet, rounds: int, servers: str, name: str) -> None:
    sender = Transactions(servers, name)
    interval_us = int(fleet.config.interval_s * 1e6)
    now_us = time.time_ns() // 1000 - rounds * interval_us
    for _ in range(rounds):
        messages = [m for replica in fleet.replicas for m in replica.step(now_us, now_us + interval_us)]
        now_us += interval_us
        await sender.deliver(messages)
    await sender.deliver([message for replica in fleet.replicas for message in replica.rest()])
    fleet.truth.uncertain += sender.uncertain


@pytest.mark.slow
def test_holes_of_transactions(rig: Rig) -> None:
    """Markers have offsets that no reader sees; batches of aborted transactions are resent by honest senders."""
    worker = rig.worker()
    fleet = rig.fleet(**TRAFFIC)
    asyncio.run(_in_transactions(fleet, 12, rig.parts.kafka.bootstrap_servers, f"{rig.name}-1"))
    rig.wait_for_commits()
    worker.kill()
    asyncio.run(_in_transactions(fleet, 6, rig.parts.kafka.bootstrap_servers, f"{rig.name}-2"))
    rig.worker()
    rig.verify("holes of transactions, committed and aborted")
    time.sleep(2)
    asyncio.run(_in_transactions(fleet, 2, rig.parts.kafka.bootstrap_servers, f"{rig.name}-3"))
    rig.verify("holes of transactions: commits go on past them")
    rig.eventually(
        lambda: rig.rows(
            "SELECT partition, next_offset, end_offset FROM partition_progress FINAL"
            " WHERE stream = 'requests' AND next_offset < end_offset"
        ),
        lambda behind: not behind,
        "read past the markers at each log's end",
    )
    assert not any("was not delivered" in each.log.read_text() for each in rig.workers)
    committed = rig.committed()
    assert committed
    chunks = {
        tuple(row) for row in rig.rows("SELECT partition, chunk FROM chunks FINAL WHERE stream = 'requests'")
    }
    ends = dict(
        rig.rows(
            "SELECT partition, max(version) FROM chunks FINAL WHERE stream = 'requests' GROUP BY partition"
        )
    )
    for partition, offset in committed.items():
        after = min((chunk for p, chunk in chunks if p == partition and chunk >= offset), default=None)
        assert after is not None, (
            f"{offset} of {partition} was committed, and no chunk begins there or behind"
        )
        held = [c for p, c in chunks if p == partition and c < offset]
        assert offset <= ends[partition] + 1
        assert not held or max(held) < offset


@pytest.mark.slow
def test_commits_are_where_chunks_begin(rig: Rig) -> None:
    """At any time, each committed offset is the start of a chunk, or follows a chunk that ended idle."""
    rig.worker()
    sending = rig.send_steadily(20, **TRAFFIC)
    seen: set[tuple[int, int]] = set()
    while sending.is_running:
        seen |= set(rig.committed().items())
        time.sleep(0.3)
    sending.join()
    rig.verify("commits watched")
    chunks = rig.rows("SELECT partition, chunk, version FROM chunks FINAL WHERE stream = 'requests'")
    assert len(seen) > 12
    ends = {(partition, version + 1) for partition, _, version in chunks}
    assert seen <= {(partition, chunk) for partition, chunk, _ in chunks} | ends


@pytest.mark.slow
def test_an_idle_chunk_is_committed_and_the_brokers_clock_steps_back(rig: Rig) -> None:
    """Read messages are committed although nothing follows. If the next message's time still lies within that chunk, it
    is counted into it: by the same worker, by one that starts there, and by one that rereads everything."""
    worker = rig.worker()
    rig.send_fast(4, **TRAFFIC)
    rig.verify("before it is idle")

    def uncommitted() -> dict[int, int]:
        ends = dict(
            rig.rows("SELECT partition, max(version) + 1 FROM chunks WHERE stream = 'requests' GROUP BY 1")
        )
        return {p: end for p, end in ends.items() if rig.committed().get(p) != end}

    rig.eventually(uncommitted, lambda found: not found, "all that was read committed")
    [(within_s,)] = rig.rows("SELECT max(toUnixTimestamp(chunk_time)) FROM chunks WHERE stream = 'requests'")
    rig.configure(REQUESTS, message_timestamp_type="CreateTime")  # stamps are the sender's: any can come
    for number, of_worker in enumerate(("the same", "another")):
        if of_worker == "another":
            worker.kill()
        fleet = rig.fleet(name=f"{rig.name}-back-{number}", replicas=40, rate=8.0)
        messages = [m for r in fleet.replicas for m in r.step(within_s * 10**6 - 10**6, within_s * 10**6)]
        asyncio.run(send_stamped(rig, messages, within_s * 1000 + 900))
        if of_worker == "another":
            worker = rig.worker()
        rig.verify(f"clock steps back into a committed chunk; {of_worker} worker")
    worker.kill()
    rig.replay()
    rig.worker("replayer")
    rig.wait_for_last_chunks()
    rig.verify("clock stepped back, and the log replayed")


async def send_stamped(rig: Rig, messages: list[Message], at_ms: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=rig.parts.kafka.bootstrap_servers) as producer:
        for message in messages:
            stored = await producer.send_and_wait(
                message.topic, value=message.value, key=message.key, timestamp_ms=at_ms
            )
            message.stored(stored.partition, stored.offset)
