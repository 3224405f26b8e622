"""A spooled sender through any order of outages, full disks and bursts: in order, once, or counted as dropped."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from endpoint_analytics.agents.delivery import spooled_topic_sender as spooled_sender
from endpoint_analytics.agents.delivery.producer import TooLargeError
from endpoint_analytics.agents.delivery.spooled_topic_sender import SpooledTopicSender
from endpoint_analytics.agents.delivery.topic_sender import cancel_all
from endpoint_analytics.agents.spool import segments
from endpoint_analytics.agents.spool.disk import DiskThread
from endpoint_analytics.agents.spool.spool import Spool
from endpoint_analytics.agents.spool.spool_outbox import SpoolOutbox

TOO_LARGE = 9_000


class Gate:
    """Stands in for the producer and Kafka: accepts messages while open, but none that is too large."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.taken: list[int] = []

    async def send_all(self, topic, messages) -> None:
        await self.open.wait()
        if any(len(message.value) >= TOO_LARGE for message in messages):
            if len(messages) == 1:
                raise TooLargeError("it is")
            raise TooLargeError("one of them is")
        await asyncio.sleep(0)
        self.taken += [int(message.value[:6]) for message in messages]

    def partition(self, topic, key) -> int | None:
        return 3 if self.taken else None

    async def close(self) -> None:
        pass


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 30)),
        st.tuples(st.just("large"), st.just(0)),
        st.tuples(st.sampled_from(["kafka", "disk"]), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.integers(0, 15)),
    ),
    max_size=25,
)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(spooled_sender, "SPILL_AFTER_S", 0.004)
    monkeypatch.setattr(spooled_sender, "RETRY_S", 0.004)
    monkeypatch.setattr(spooled_sender, "pause_s", lambda messages, size_bytes: 0.0)


@given(STEPS, st.booleans(), st.sampled_from([20, 1_000]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_order_once_or_counted(quick, steps, drop_newest, outbox_messages):
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        asyncio.run(play(Path(directory), patch, steps, drop_newest, outbox_messages))
        assert list(Path(directory).iterdir()) == []


async def play(directory, patch, steps, drop_newest, outbox_messages):
    disk_works = True
    fsync = segments.os.fsync

    def maybe_sync(fd):
        if not disk_works:
            raise OSError(28, "No space left on device")
        fsync(fd)

    patch.setattr(segments.os, "fsync", maybe_sync)
    disk, gate, outbox = DiskThread(), Gate(), SpoolOutbox(outbox_messages, 10**6)
    spool = Spool(
        directory,
        "boot",
        "prefix",
        b"key",
        64 * 1024,
        drop_newest=drop_newest,
        sending_through=lambda topic: outbox.sending_through,
    )
    disk.start()
    sender = SpooledTopicSender("requests", "prefix.requests", b"key", outbox, gate, spool, disk)
    tasks = [asyncio.create_task(task) for task in sender.tasks()]
    put = 0
    for step, number in steps:
        if step == "put":
            for _ in range(number):
                put += 1
                sender.put(b"%06d" % put + b"x" * 2_000)
        elif step == "large":
            put += 1
            sender.put(b"%06d" % put + b"x" * TOO_LARGE)
        elif step == "kafka":
            gate.open.set() if number else gate.open.clear()
        elif step == "disk":
            disk_works = bool(number)
        else:
            await asyncio.sleep(number / 1_000)
    if not gate.open.is_set() and disk_works:
        await asyncio.wait_for(sender.saved(), 10)
        assert len(outbox) == 0
    disk_works = True
    gate.open.set()
    await asyncio.wait_for(sender.drained(), 10)
    assert gate.taken == sorted(set(gate.taken))
    assert len(gate.taken) + sum(sender.dropped.values()) == put
    assert sender.sent == len(gate.taken)
    await asyncio.wait_for(sender.saved(), 10)
    await cancel_all(tasks)
    await disk.run(spool.close)
    disk.stop()
