"""A topic's queue: it is never full, and the partitions that fill it are held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

from mode.utils.queues import FlowControlEvent

from endpoint_analytics.pipeline.stream.transport import fetched
from endpoint_analytics.pipeline.stream.waiting_messages import (
    MAX_WAITING,
    MAX_WAITING_BYTES,
    RELEASE_BELOW,
    WaitingMessages,
)


class Partition:
    """A partition as Faust sees it: delivered, or held."""

    def __init__(self, queue: WaitingMessages) -> None:
        self.queue = queue
        self.waits = False

    def deliver(self, size: int = 100) -> None:
        assert not self.queue.full()
        # Kafka takes no key, and a header without a value.
        record = SimpleNamespace(key=None, value=bytes(size), headers=[("name", None)])
        message = SimpleNamespace(tp=self, value=fetched([record]))
        event = SimpleNamespace(message=message)
        self.queue.put_nowait_enhanced(event, on_pressure_high=self.wait, on_pressure_drop=self.go_on)

    def wait(self) -> None:
        self.waits = True

    def go_on(self) -> None:
        self.waits = False


def run(scenario: Callable[[WaitingMessages], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(WaitingMessages(FlowControlEvent(), clear_on_resume=True))

    asyncio.run(main())


def test_who_fills_it_waits_until_most_is_taken() -> None:
    async def scenario(queue: WaitingMessages) -> None:
        one, other = Partition(queue), Partition(queue)
        for _ in range(MAX_WAITING):
            one.deliver()
        assert not one.waits
        one.deliver()  # what came in the same poll has room still
        one.deliver()
        assert one.waits
        assert not other.waits
        other.deliver()
        assert other.waits
        while queue.qsize() > RELEASE_BELOW * MAX_WAITING:
            assert one.waits
            queue.get_nowait()
        queue.get_nowait()
        assert [one.waits, other.waits] == [False, False]

    run(scenario)


def test_who_is_read_again_meanwhile_waits_again() -> None:
    async def scenario(queue: WaitingMessages) -> None:
        one = Partition(queue)
        for _ in range(MAX_WAITING + 1):
            one.deliver()
        one.go_on()  # as when it is fetched again
        one.deliver()
        assert one.waits

    run(scenario)


def test_it_knows_whose_messages_wait() -> None:
    async def scenario(queue: WaitingMessages) -> None:
        one, other = Partition(queue), Partition(queue)
        one.deliver()
        assert [queue.holds(one), queue.holds(other)] == [True, False]
        queue.get_nowait()
        assert queue.holds(one)  # Faust gathers what it takes
        queue.read(one)
        queue.read(other)
        assert [queue.holds(one), queue.holds(other)] == [False, False]

    run(scenario)


def test_few_that_weigh_much_fill_it_too() -> None:
    async def scenario(queue: WaitingMessages) -> None:
        one = Partition(queue)
        for _ in range(5):
            one.deliver(MAX_WAITING_BYTES // 4)
        assert one.waits
        for _ in range(4):
            queue.get_nowait()
        assert one.waits
        queue.get_nowait()
        assert await asyncio.wait_for(_next_of(one), 1)
        assert not one.waits
        assert queue.waiting_bytes == 0

    async def _next_of(one: Partition) -> bool:
        waiting = asyncio.create_task(one.queue.get())  # an empty queue lets all go on
        await asyncio.sleep(0)
        one.deliver()
        return await waiting is not None

    run(scenario)


def test_a_rebalance_forgets_what_waits_and_lets_all_go_on() -> None:
    async def scenario(queue: WaitingMessages) -> None:
        one = Partition(queue)
        for _ in range(MAX_WAITING + 1):
            one.deliver()
        assert one.waits
        queue.clear()
        assert [one.waits, queue.qsize(), queue.waiting_bytes] == [False, 0, 0]

    run(scenario)
