"""Faust's aiokafka transport, without four asyncio tasks a message.

Faust hands over each message with `wait_first(deliver, suspended)`, which makes a task of both and of two
more. Delivering almost never waits: it puts the message into a queue with room. So it is tried on the spot,
and only a delivery that does wait goes on in Faust's own way. tests/benchmarks/worker.py shows the difference.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any

from faust.transport.drivers import aiokafka

PAUSE_S = 0.01
"""After a delivery that waited for room: when it goes on there is room for many, and few wait."""


class Consumer(aiokafka.Consumer):
    """The consumer, delivering on the spot where that does not wait."""

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:
        """Wait for the first of `coros`: see mode's Service.wait_first."""
        if len(coros) != 2 or timeout is not None or not all(isinstance(c, Coroutine) for c in coros):
            return await super().wait_first(*coros, timeout=timeout)
        deliver, suspended = coros
        try:
            waits_for = deliver.send(None)
        except StopIteration:
            suspended.close()
            return None
        except BaseException:
            suspended.close()
            raise
        result = await super().wait_first(_go_on(deliver, waits_for), suspended)
        await self.sleep(PAUSE_S)
        return result


async def _go_on(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Any:
    return await _resume(coroutine, waits_for)


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that was begun and yielded `waits_for`."""
    while True:
        try:
            try:
                answer = yield waits_for
            except BaseException as error:  # noqa: BLE001 - handed to the coroutine, as `yield from` does
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(answer)
        except StopIteration as end:
            return end.value


class Transport(aiokafka.Transport):
    """The transport with that consumer."""

    Consumer = Consumer
