"""Delivering on the spot: the same as Faust's own way, whether the delivery waits or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from mode import Service

from endpoint_analytics.pipeline.stream import transport


class Bare(transport.Consumer):
    """The consumer without its connection."""

    def __init__(self) -> None:
        Service.__init__(self)


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
