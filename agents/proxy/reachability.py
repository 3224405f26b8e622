"""Whether the server is reachable: reports the replica's states, and wakes requests that wait for the server.

It holds no request (`exchange` does), and probes by connecting, only while the server is unreachable: at startup, and
after a request could not reach it.
"""

from __future__ import annotations

import asyncio
import logging

from endpoint_analytics.agents.proxy.pool import Pool
from endpoint_analytics.agents.replica.agent import Agent

logger = logging.getLogger("endpoint_analytics")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5


class UpstreamReachability:
    """Whether one upstream accepts connections, reported as the state of its replica. `name` is for log messages."""

    def __init__(self, agent: Agent, pool: Pool, name: str) -> None:
        self._agent = agent
        self._pool = pool
        self._name = name
        self._reachable = asyncio.Event()
        self._probing: asyncio.Task[None] | None = None

    def probe(self) -> None:
        """Start probing until the server is reachable, unless already probing."""
        if self._probing is None:
            self._reachable.clear()
            self._probing = asyncio.get_running_loop().create_task(self._probe())

    def missed(self, reason: str) -> None:
        """A request could not reach the server."""
        if self._probing is None:
            logger.warning("%s cannot be reached: %s", self._name, reason)
            self._agent.enter("failed", f"the server cannot be reached: {reason}")
            self.probe()

    async def wait(self, timeout_s: float) -> bool:
        """Return whether the server becomes reachable within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._reachable.wait()
        except TimeoutError:
            return False
        return True

    def stop(self) -> None:
        """Stop probing."""
        if self._probing is not None:
            self._probing.cancel()

    async def _probe(self) -> None:
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
        self._reachable.set()
        self._probing = None
        logger.info("%s is reachable", self._name)
        self._agent.enter("initializing")  # ignored unless it had failed
        self._agent.enter("running")
