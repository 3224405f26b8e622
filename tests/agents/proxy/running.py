"""A proxy in a thread of the test process, so that its agent is accessible; and servers to put behind it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.parts import Child

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.proxy.server import ProxyServer
from endpoint_analytics.agents.proxy.settings import ProxySettings, Upstream
from endpoint_analytics.agents.replica.agent import Agent

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.SelectorEventLoop}
try:
    import uvloop
except ModuleNotFoundError:
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop


class Running:
    """A proxy that listens on `port`."""

    def __init__(self, agent: Agent, unassigned: Agent | None) -> None:
        self.agent, self.unassigned = agent, unassigned
        self.port = 0
        self.proxy: ProxyServer
        self.loop: asyncio.AbstractEventLoop

    @property
    def agents(self) -> list[Agent]:
        return [self.agent] if self.unassigned is None else [self.agent, self.unassigned]

    @property
    def totals(self) -> dict[str, object]:
        """All non-zero totals of the agent, except the sums of times."""
        return totals_of(self.agent)


def totals_of(agent: Agent) -> dict[str, object]:
    totals = agent.snapshot().totals
    names = ("arrived", "finished", "aborted_pending", "aborted_streaming", "status", "dropped")
    return {name: value for name in names if (value := getattr(totals, name))}


@contextmanager
def run_proxy(
    config: AgentConfig,
    upstream_port: int,
    loop: str = "asyncio",
    hold_config: AgentConfig | None = None,
    **settings,
) -> Iterator[Running]:
    """Run a proxy until the block ends; then its agents have stopped, and their totals are final."""
    agent = Agent(config)
    unassigned = Agent(hold_config) if hold_config is not None else None
    running = Running(agent, unassigned)
    ready, reported = threading.Event(), asyncio.Event()
    chosen = ProxySettings(upstream=Upstream("127.0.0.1", upstream_port), **{"drain_s": 0.2, **settings})

    async def serve() -> None:
        running.proxy = ProxyServer(chosen, agent, unassigned)
        running.loop = asyncio.get_running_loop()
        for one in running.agents:
            one.start()
        running.port = await running.proxy.start()
        ready.set()
        await reported.wait()
        await running.proxy.stop()
        for one in running.agents:
            one.stop()

    def main() -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(serve())

    thread = threading.Thread(target=main)
    thread.start()
    assert ready.wait(30)
    try:
        yield running
    finally:
        running.loop.call_soon_threadsafe(reported.set)
        thread.join(30)
        assert not thread.is_alive()


def behaviour_server(directory: Path) -> tuple[Child, int]:
    """Start the application of behaviours on a real uvicorn, and return it with its port."""
    child = Child(
        [sys.executable, "-m", "tests.agents.behaviour_app"],
        os.environ,
        directory / "server.log",
        r"listening (\d+)\n",
    )
    return child, int(child.start()[1])
