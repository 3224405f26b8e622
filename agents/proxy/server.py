"""The proxy server: listens, drives the timeouts of its connections, and shuts down gracefully."""

from __future__ import annotations

import asyncio

from endpoint_analytics.agents.middleware.harmless import report_bug
from endpoint_analytics.agents.proxy.client import ClientConnection
from endpoint_analytics.agents.proxy.outcome_watch import ProxyWatcher
from endpoint_analytics.agents.proxy.pool import Pool
from endpoint_analytics.agents.proxy.reachability import UpstreamReachability
from endpoint_analytics.agents.proxy.settings import ProxySettings
from endpoint_analytics.agents.replica.agent import Agent

BACKLOG = 4_096
LONGEST_TICK_S = 0.5


class ProxyServer:
    """One listening proxy. Create it inside a running event loop.

    `agent` records the replica's requests; the caller starts and stops it. `unassigned` (the same agent, unless
    requests are held) records requests for which no replica was reachable. Neither records requests for the agent's
    `exclude_paths`; both keep the details that its `outcomes` and `dimensions` ask for.
    """

    def __init__(self, settings: ProxySettings, agent: Agent, unassigned: Agent | None = None) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.recorder = agent.recorder
        self.unassigned = (unassigned or agent).recorder
        self.excluded = frozenset(agent.config.exclude_paths)
        is_off = agent.config.outcomes == "off"
        self.watcher = None if is_off else ProxyWatcher(agent.config, report_bug)
        self.pool = Pool(settings, self.loop)
        self.reachability = UpstreamReachability(agent, self.pool, str(settings.upstream))
        self.is_draining = False
        self.clients: set[ClientConnection] = set()
        self._agent = agent
        self._server: asyncio.Server | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Start listening and return the port; raises OSError if the port is not available."""
        self._server = await self.loop.create_server(
            lambda: ClientConnection(self, self.clients),
            self.settings.host,
            self.settings.port,
            backlog=BACKLOG,
        )
        self._ticking = self.loop.create_task(self._tick())
        self.reachability.probe()
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop accepting connections, wait at most `drain_s` for requests to finish, and abort the rest."""
        self.is_draining = True
        self._agent.enter("draining")
        self.reachability.stop()
        if self._server is not None:
            self._server.close()
        for client in list(self.clients):
            client.close_if_idle()
        until_s = self.loop.time() + self.settings.drain_s
        while self.clients and self.loop.time() < until_s:  # noqa: ASYNC110  # only at shutdown
            await asyncio.sleep(0.02)
        for client in list(self.clients):
            client.transport.abort()
        await asyncio.sleep(0)  # let the aborted connections be notified
        self.pool.close()
        if self._ticking is not None:
            self._ticking.cancel()

    async def _tick(self) -> None:
        settings = self.settings
        shortest_s = min(
            settings.response_timeout_s,
            settings.head_timeout_s,
            settings.body_timeout_s,
            settings.idle_timeout_s,
        )
        tick_s = min(LONGEST_TICK_S, shortest_s / 4)
        while True:
            await asyncio.sleep(tick_s)
            now_s = self.loop.time()
            for client in list(self.clients):
                client.tick(now_s)
            self.pool.close_idle(now_s)
