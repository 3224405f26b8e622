"""Whether the server is there: tells the replica's states, and those who wait for it.

It is asked by connecting, and only while it is not there: at the start, and after a request could not reach it.
"""

from __future__ import annotations

import asyncio
import logging

from endpoint_analytics.agents.proxy.pool import Pool
from endpoint_analytics.agents.replica.agent import Agent

logger = logging.getLogger("endpoint_analytics")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5


class Presence:
    """Of one upstream, for one replica's agent. `name` is for people."""

    def __init__(self, agent: Agent, pool: Pool, name: str) -> None:
        self._agent = agent
        self._pool = pool
        self._name = name
        self._there = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None

    def ask(self) -> None:
        """Begin to ask for the server until it is there, unless that is being done."""
        if self._asking is None:
            self._there.clear()
            self._asking = asyncio.get_running_loop().create_task(self._ask())

    def missed(self, reason: str) -> None:
        """A request could not reach the server."""
        if self._asking is None:
            logger.warning("%s cannot be reached: %s", self._name, reason)
            self._agent.enter("failed", f"the server cannot be reached: {reason}")
            self.ask()

    async def wait(self, timeout_s: float) -> bool:
        """Return whether the server is there within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._there.wait()
        except TimeoutError:
            return False
        return True

    def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                connection = await self._pool.connect()
            except OSError:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            else:
                break
        connection.transport.abort()
        self._there.set()
        self._asking = None
        logger.info("%s is there", self._name)
        self._agent.enter("initializing")  # left out unless it had failed
        self._agent.enter("running")
