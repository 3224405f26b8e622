"""Direct delivery: the same result as Faust's own way, whether or not the delivery waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
from aiokafka.errors import LeaderNotAvailableError
from faust.types import TP
from mode import Service

from endpoint_analytics.pipeline.stream import transport

OURS, LOST = TP("requests", 0), TP("requests", 1)


class Bare(transport.Consumer):
    """The consumer without its connection."""

    def __init__(self) -> None:
        Service.__init__(self)
        self.app = SimpleNamespace(consumer_generation_id=1)
        self._stored = {}


def run(scenario: Callable[[Bare], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Bare())

    asyncio.run(main())


def test_a_delivery_that_does_not_wait_makes_no_task() -> None:
    async def scenario(consumer: Bare) -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()
        tasks = asyncio.all_tasks()
        await consumer.wait_first(queue.put(1), asyncio.Event().wait())
        assert queue.get_nowait() == 1
        assert asyncio.all_tasks() == tasks

    run(scenario)


def test_a_delivery_that_waits_goes_on_when_there_is_room() -> None:
    async def scenario(consumer: Bare) -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        queue.put_nowait(1)
        delivering = asyncio.create_task(consumer.wait_first(queue.put(2), asyncio.Event().wait()))
        await asyncio.sleep(0)
        assert not delivering.done()
        assert queue.get_nowait() == 1
        await delivering
        assert queue.get_nowait() == 2

    run(scenario)


def test_a_suspension_ends_a_delivery_that_waits() -> None:
    async def scenario(consumer: Bare) -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        queue.put_nowait(1)
        suspended = asyncio.Event()
        delivering = asyncio.create_task(consumer.wait_first(queue.put(2), suspended.wait()))
        await asyncio.sleep(0)
        suspended.set()
        await delivering
        await asyncio.sleep(0)
        assert queue.qsize() == 1
        assert queue.get_nowait() == 1

    run(scenario)


def test_an_error_of_a_delivery_is_passed_on() -> None:
    async def fails() -> None:
        raise LookupError("no such partition")

    async def fails_later() -> None:
        await asyncio.sleep(0)
        raise LookupError("no such partition")

    async def scenario(consumer: Bare) -> None:
        for delivery in (fails, fails_later):
            with pytest.raises(LookupError):
                await consumer.wait_first(delivery(), asyncio.Event().wait())

    run(scenario)


def test_what_was_delivered_before_is_no_reason_to_drop() -> None:
    """Faust may record it after a rebalance that reset the partition; it would then drop earlier messages."""
    offsets = transport._NoOffsets()
    offsets[TP("requests", 0)] = 500
    offsets.update({TP("requests", 0): 500})
    assert offsets[TP("requests", 0)] is None
    assert offsets.pop(TP("requests", 0), None) is None


def test_committed_is_what_was_acknowledged_and_nothing_for_what_is_gone() -> None:
    async def scenario(consumer: Bare) -> None:
        for offset in (99, 199, 149):
            consumer.acknowledge(OURS, offset)
        consumer.acknowledge(LOST, 7)
        consumer._forget({LOST})
        assert list(consumer._filter_tps_with_pending_acks()) == [OURS]
        assert list(consumer._filter_tps_with_pending_acks({"hardware"})) == []
        assert consumer._new_offset(OURS) == 200
        assert consumer._new_offset(LOST) is None

    run(scenario)


def test_what_was_acknowledged_in_another_generation_is_not_committed() -> None:
    """Another worker may have read further meanwhile: its commit would be reset."""

    async def scenario(consumer: Bare) -> None:
        consumer.acknowledge(OURS, 299)
        consumer.app.consumer_generation_id += 1
        assert consumer._new_offset(OURS) is None
        consumer.acknowledge(OURS, 199)
        assert consumer._new_offset(OURS) == 200

    run(scenario)


def test_a_group_that_begins_anew_at_a_lower_generation_commits() -> None:
    async def scenario(consumer: Bare) -> None:
        consumer.app.consumer_generation_id = 57
        consumer.acknowledge(OURS, 299)
        consumer.app.consumer_generation_id = 1
        consumer.acknowledge(OURS, 99)
        assert consumer._new_offset(OURS) == 100

    run(scenario)


def test_what_is_held_stays_so_when_it_is_resumed_and_what_is_paused_when_it_is_held_no_more() -> None:
    async def scenario(consumer: Bare) -> None:
        consumer._active_partitions, consumer._paused_partitions = {OURS, LOST}, set()
        consumer._buffered_partitions = set()
        consumer.app.in_recovery = False
        consumer.app.queues = []
        consumer.on_buffer_full(OURS)
        consumer.resume_partitions({OURS})
        assert consumer._active_partitions == {LOST}
        assert [consumer.waits(OURS), consumer.waits(LOST)] == [True, False]
        consumer.pause_partitions({OURS})
        consumer.on_buffer_drop(OURS)
        assert consumer._active_partitions == {LOST}
        consumer.resume_partitions({OURS})
        assert consumer._active_partitions == {OURS, LOST}

    run(scenario)


class Log:
    """What the broker reports for a partition: the start and end of its log, and the committed offset."""

    def __init__(self, start: int | None, end: int | None, committed: int | None) -> None:
        self.start, self.end, self._committed = start, end, committed

    async def committed(self, _: object) -> int | None:
        return self._committed

    async def earliest_offsets(self, tp: object) -> dict[object, int]:
        return {} if self.start is None else {tp: self.start}

    async def highwaters(self, tp: object) -> dict[object, int]:
        return {} if self.end is None else {tp: self.end}


@pytest.mark.parametrize(
    ("believed", "log", "delivered", "begins"),
    [
        (300, Log(0, 500, 300), 300, 300),
        (300, Log(0, 500, 300), 450, 300),  # what lies between was not delivered
        (None, Log(0, 500, 300), 0, 300),  # the committed offset was not known yet
        (None, Log(0, 500, 300), 300, 300),
        (None, Log(40, 500, None), 90, 40),
        (None, Log(40, 500, 0), 90, 40),
        (300, Log(0, 200, 300), 120, 0),  # the topic was made anew, and some of it not delivered
    ],
)
def test_where_reading_begins(believed: int | None, log: Log, delivered: int, begins: int) -> None:
    async def scenario(consumer: Bare) -> None:
        consumer._committed_offset = {OURS: believed}
        consumer._thread = log
        assert await consumer.start_offset(OURS, delivered) == begins

    run(scenario)


@pytest.mark.parametrize("log", [Log(None, None, None), Log(None, None, 300), Log(None, 200, 300)])
def test_without_a_leader_it_is_not_known_where_reading_begins(log: Log) -> None:
    async def scenario(consumer: Bare) -> None:
        consumer._committed_offset = {}
        consumer._thread = log
        with pytest.raises(LeaderNotAvailableError):
            await consumer.start_offset(OURS, 450)

    run(scenario)


def test_a_topic_that_was_made_anew_is_committed_from_its_start() -> None:
    async def scenario(consumer: Bare) -> None:
        consumer._committed_offset = {OURS: 300}
        consumer._thread = Log(0, 200, 300)
        assert await consumer.start_offset(OURS, 0) == 0
        assert consumer.committed(OURS) is None

    run(scenario)
