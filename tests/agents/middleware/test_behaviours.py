"""The shared suite for the capture methods that serve an application: middleware and proxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from tests.agents.behaviour_app import BehaviourApp
from tests.agents.behaviours import Behaviours, Captured
from tests.agents.proxy.running import LOOPS, behaviour_server, run_proxy

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware

pytestmark = pytest.mark.outside


@contextmanager
def by_middleware(config: AgentConfig, http: str) -> Iterator[Captured]:
    app = BehaviourApp(wrap=lambda inner: AnalyticsMiddleware(inner, config=config))
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = uvicorn.Server(uvicorn.Config(app, http=http, log_level="critical", timeout_graceful_shutdown=0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        thread.join(0.005)
        assert thread.is_alive()
    port = listener.getsockname()[1]
    loop = server.servers[0].get_loop()
    agent = app.captured.agent

    def kill() -> None:
        """The closest a thread can get: every connection breaks, and running requests are cancelled."""
        for connection in list(server.server_state.connections):
            loop.call_soon_threadsafe(connection.transport.abort)
        server.should_exit = True
        thread.join(30)

    try:
        yield Captured(port, port, [agent], kill)
    finally:
        kill()
        listener.close()
        agent.stop()
        assert not thread.is_alive()


class TestMiddleware(Behaviours):
    @pytest.fixture(params=["httptools", "h11"])
    def captured(self, request, make_config):
        with by_middleware(make_config(), request.param) as captured:
            yield captured


class TestProxy(Behaviours):
    @pytest.fixture(params=list(LOOPS))
    def captured(self, request, make_config, tmp_path):
        child, port = behaviour_server(tmp_path)
        try:
            with run_proxy(make_config(), port, request.param) as running:
                yield Captured(running.port, port, running.agents, child.kill)
        finally:
            child.kill()
            child.process.stdout.close()
