"""The lifespan scope of ASGI, watched: the server's start and stop are the replica's."""

from __future__ import annotations

import asyncio

from endpoint_analytics.agents.agent import Agent
from endpoint_analytics.agents.connection import Message, Receive
from endpoint_analytics.agents.exchange import Send


class Lifespan:
    """Give `receive` and `send` to the application in place of the server's own."""

    __slots__ = ("_agent", "_receive", "_send", "is_supported")

    def __init__(self, agent: Agent, receive: Receive, send: Send) -> None:
        self._agent = agent
        self._receive = receive
        self._send = send
        self.is_supported = False
        """Whether the application has asked for a message: Django, for one, knows no such scope."""

    async def receive(self) -> Message:
        """Pass on the server's message: at `lifespan.shutdown` the replica drains."""
        self.is_supported = True
        message = await self._receive()
        if message["type"] == "lifespan.shutdown":
            self._agent.enter("draining")
        return message

    async def send(self, message: Message) -> None:
        """Pass on the application's message; before its shutdown is told, the agent sends what it has."""
        kind = message["type"]
        if kind == "lifespan.startup.failed":
            self._agent.enter("failed", last_line(str(message.get("message", ""))))
            await stop_aside(self._agent)
        elif kind in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
            await stop_aside(self._agent)
        await self._send(message)
        if kind == "lifespan.startup.complete":
            self._agent.enter("running")

    async def answer(self) -> None:
        """Answer the server in place of an application that has no lifespan."""
        while (await self.receive())["type"] != "lifespan.shutdown":
            await self.send({"type": "lifespan.startup.complete"})
        await self.send({"type": "lifespan.shutdown.complete"})


def last_line(text: str) -> str:
    """Return the last line that is not empty: of a traceback, the exception itself."""
    return text.strip().rpartition("\n")[2].strip()


async def stop_aside(agent: Agent) -> None:
    """Stop the agent without holding up the server's loop."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # a server that runs on trio
        agent.stop()
    else:
        await loop.run_in_executor(None, agent.stop)
