"""The inbox: few messages wait for others, enough are read at once, and more than enough are not accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from endpoint_analytics.pipeline.stream.inbox import ENOUGH_BYTES, ENOUGH_MESSAGES, Inbox
from endpoint_analytics.pipeline.stream.transport import Fetched

NEVER_S, AT_ONCE_S = 1e6, 0.0


def event(messages: int = 1, size_bytes: int = 100) -> Any:
    return SimpleNamespace(message=SimpleNamespace(value=Fetched([None] * messages, size_bytes)))


def run(scenario: Callable[[Inbox], Awaitable[None]], gather_s: float) -> None:
    async def main() -> None:
        await asyncio.wait_for(scenario(Inbox(gather_s)), 10)

    asyncio.run(main())


async def others() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_is_gathered_comes_together_and_in_order() -> None:
    async def scenario(inbox: Inbox) -> None:
        taking = asyncio.create_task(inbox.take())
        first, second = event(), event()
        await inbox.put(first)
        await inbox.put(second)
        assert await taking == [first, second]
        taking = asyncio.create_task(inbox.take())
        await others()
        assert not taking.done()  # nothing is left
        taking.cancel()

    run(scenario, 0.01)


def test_enough_is_not_waited_for() -> None:
    async def scenario(inbox: Inbox) -> None:
        for much in (event(messages=ENOUGH_MESSAGES), event(size_bytes=ENOUGH_BYTES)):
            taking = asyncio.create_task(inbox.take())
            few = event()
            await inbox.put(few)
            await others()
            assert not taking.done()
            await inbox.put(much)
            assert await taking == [few, much]

    run(scenario, NEVER_S)


def test_more_than_enough_waits_until_it_is_taken() -> None:
    async def scenario(inbox: Inbox) -> None:
        much, more = event(messages=ENOUGH_MESSAGES), event()
        await inbox.put(much)
        putting = asyncio.create_task(inbox.put(more))
        await others()
        assert not putting.done()
        assert await inbox.take() == [much]
        await putting
        assert await inbox.take() == [more]

    run(scenario, AT_ONCE_S)
