"""Observes the ASGI lifespan scope: the server's startup and shutdown are the replica's."""

from __future__ import annotations

import asyncio

from endpoint_analytics.agents.middleware.asgi_connection import Message, Receive, Send
from endpoint_analytics.agents.middleware.harmless import report_bug
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.schemas.replicas import State


class Lifespan:
    """Pass `receive` and `send` to the application in place of the server's own."""

    __slots__ = ("_agent", "_receive", "_send", "is_supported")

    def __init__(self, agent: Agent, receive: Receive, send: Send) -> None:
        self._agent = agent
        self._receive = receive
        self._send = send
        self.is_supported = False
        """Whether the application has called `receive`: Django, for one, does not support this scope."""

    async def receive(self) -> Message:
        """Pass on the server's message; at `lifespan.shutdown` the replica enters draining."""
        self.is_supported = True
        message = await self._receive()
        if message["type"] == "lifespan.shutdown":
            enter(self._agent, "draining")
        return message

    async def send(self, message: Message) -> None:
        """Pass on the application's message; before it confirms the shutdown, the agent sends what it has."""
        kind = message["type"]
        if kind == "lifespan.startup.failed":
            enter(self._agent, "failed", last_line(str(message.get("message", ""))))
            await stop_in_thread(self._agent)
        elif kind in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
            await stop_in_thread(self._agent)
        await self._send(message)
        if kind == "lifespan.startup.complete":
            enter(self._agent, "running")

    async def answer(self) -> None:
        """Answer the server on behalf of an application without lifespan support."""
        while (await self.receive())["type"] != "lifespan.shutdown":
            await self.send({"type": "lifespan.startup.complete"})
        await self.send({"type": "lifespan.shutdown.complete"})


async def refuse_start(reason: str, receive: Receive, send: Send) -> None:
    """Report to the server that startup failed: it exits, and its log has the reason."""
    while (await receive())["type"] != "lifespan.startup":
        pass
    await send({"type": "lifespan.startup.failed", "message": f"endpoint-analytics: {reason}"})


def last_line(text: str) -> str:
    """Return the last non-empty line: for a traceback, the exception itself."""
    return text.strip().rpartition("\n")[2].strip()


def enter(agent: Agent, state: State, reason: str = "") -> None:
    """Let the agent enter a state; raises nothing."""
    try:
        agent.enter(state, reason)
    except Exception as error:  # noqa: BLE001  # a bug of the middleware
        report_bug(error)


async def stop_in_thread(agent: Agent) -> None:
    """Stop the agent without blocking the server's event loop, if a thread is available; raises nothing."""
    try:
        try:
            stopping = asyncio.get_running_loop().run_in_executor(None, agent.stop)
        except RuntimeError:
            agent.stop()
        else:
            await stopping
    except Exception as error:  # noqa: BLE001  # a bug of the middleware
        report_bug(error)
